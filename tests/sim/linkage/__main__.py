"""Plays the linkage game and prints what it found: ``python -m sim.linkage [seed]`` in tests/ (half a minute)."""

from __future__ import annotations

import dataclasses
import sys

from sim.linkage.alarms import QUARTER, Group, chance_of_alarm, to_raise, to_silence
from sim.linkage.community import Setting, live
from sim.linkage.game import infer, link

SHARES = (0.02, 0.05, 0.1, 0.3, 0.5, 0.7)
VOLUMES = (30, 60, 130)


def main(seed: int) -> None:
    """The whole game."""
    setting = Setting()
    views = live(seed, setting)
    sessions = [session for each in views.sessions.values() for session in each]
    rated = sum(session.serial is not None for session in sessions)
    print(f"seed {seed}: {setting.epochs} epochs of a week, {setting.supporters} supporters, {len(sessions)} sessions,")
    print(f"{rated} ratings, {len(views.published)} of them published in tens by the end")
    print("\nlinking a rating to a session (each supporter as the malicious one in turn)")
    for found in link(views):
        print(
            f"  {found.strategy:<12} right {found.right:6.1%}  guessing {found.guessing:6.1%}  "
            f"advantage {found.advantage:+.3f} (one standard error {found.error:.3f}, {found.guesses} guesses)"
        )
    _answers("one person's answer, by the supporter's sessions in that epoch", seed, setting)
    for weeks in (2, 4):
        busier = tuple(weeks * each for each in setting.sessions)
        longer = dataclasses.replace(setting, sessions=busier, epochs=setting.epochs // weeks)
        _answers(f"the same with epochs of {weeks} weeks", seed, longer)
    _alarms()


def _answers(title: str, seed: int, setting: Setting) -> None:
    print(f"\n{title} (0.6 is the bound for anybody)")
    for each in infer(live(seed, setting)):
        if each.people:
            print(
                f"  {each.sessions:<10} advantage {each.advantage:.3f}; of those named {each.belief:.0%} meant no, "
                f"where guessing has {each.prior:.0%} ({each.people} people)"
            )


def _alarms() -> None:
    print(f"\nalarms over a quarter ({QUARTER} epochs of a week): how likely")
    for answers in VOLUMES:
        row = [f"{share:.0%} noes {chance_of_alarm((Group(answers, share),)):6.1%}" for share in SHARES]
        print(f"  {answers:>3} answers: {', '.join(row)}")
    print("\nto silence one: good answers to oneself in a quarter, a voucher each, until it is less likely than")
    for answers, share in ((30, 0.6), (60, 0.5), (60, 0.7), (130, 0.5)):
        before = chance_of_alarm((Group(answers, share),))
        half, tenth = (_shown(to_silence(Group(answers, share), below=risk)) for risk in (0.5, 0.1))
        print(f"  {answers:>3} answers, {share:.0%} noes ({before:.0%} at first): 1 in 2: {half}, 1 in 10: {tenth}")
    print("\nto raise a false one with a chance of 1 in 2: sessions held with an honest person and ended with a no")
    for answers in (*VOLUMES, 260):
        print(f"  against {answers:>3} honest answers, 5% noes: {_shown(to_raise(Group(answers, 0.05), above=0.5))}")


def _shown(answers: int | None) -> str:
    return "more than 2000" if answers is None else str(answers)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
