"""What happens in a conversation, in words for the person: no blame, no chain words, no numbers of worth."""

from __future__ import annotations

from datetime import datetime

from warmline.client import session
from warmline.client.session_events import FeedbackNone, FeedbackReady
from warmline_protocol.session import events as said

DIM, BOLD, WARM, COOL, ALARM = "2", "1", "33", "36", "31"

_MARKS = "🌿 🌊 🌙 🍂 🌻 🐚 🪶 🌾 🍁 🌸 🐢 🦔 🦉 🐝 🐋 🌵 🍄 🌱 🌦 🦋 🐌 🦊 🐿 🕊 🌼 🪴 🪵 🪨 🐳 🦢 🍀 🌳"
_WEATHER = "Quiet Gentle Early Late Amber Silver Little Steady Winter Summer Northern Tidal Mossy Paper Lantern Harbour"
_THINGS = "River Sparrow Meadow Lantern Pebble Willow Comet Otter Cedar Fern Heron Maple Robin Tide Ember Thistle"

FIRST_SCREEN = (
    "warmline is people listening to people. It is not therapy and not a crisis service: nobody here can see where "
    "you are or send help. If you are in danger right now, please call your local emergency number.",
    "What you write is encrypted on this machine, and only the people you talk to can read it. The encryption uses "
    "published standards and has not been audited yet.",
)
TOO_YOUNG = (
    "This line is for adults, and we would rather you were in good hands than turned away. Helplines for young people "
    "are free, and their people know what they are doing: childhelplineinternational.org lists the one of your country."
)
BEFORE = (
    "When you leave, this conversation is thrown away on this machine and cannot be brought back. "
    "/leave ends it, /block ends it for good, /keep keeps it for a day, /help says the rest."
)
CLOSING = (
    "The conversation is gone from this machine. Take care of yourself; this line is here when you want it again, "
    "and your country's helplines are there at any hour."
)

KEPT = "This conversation is kept on this device, encrypted, for a day from its last word."
THREAD_ASKED = "They are asked whether you may find each other again. Nothing is kept unless both say yes."
BACKUP_ASKED = "They are asked whether a second peer may join. Nobody is called before their yes."
BACKUP_COMES = "A second peer is here. You both and the person you talk with are asked into a room of three."
EXPORTED = "Copied, unencrypted: whoever gets these files can read all of it, and no word of theirs is secret there."
CLOSING_SCREEN = (
    "This conversation is over and is still in this program's memory. /report FILE writes a report that proves what "
    "they wrote, /export FILE a copy for you. Enter lets it go."
)
GOODBYE_WAITS = (
    "They could not be told yet that you have left: the nodes that keep messages for them are away. It is tried again "
    "for as long as this screen is open."
)
RATING_QUESTION = (
    "Would you talk to this person again? /yes or /no; Enter skips it. One answer in five is turned round on this "
    "device, it leaves with no name, and it shows only together with nine others. If something was wrong, /report says "
    "more than a no."
)
RATING_AWAY = "No collector takes answers at the moment, so there is no question about this conversation."

_ENDS = {
    "left": "You have left.",
    "peer left": "They have said goodbye.",
    "removed": "The host has ended your place in this room.",
    "host gone": "The host has left or lost the connection, so the room is closed. You did nothing wrong.",
    "lost": "The thread was lost and could not be found again. You can join once more; nobody did anything wrong.",
    "unproven": "The other side could not prove to be the supporter on the card, so nothing was shown or sent.",
    "declined": "They cannot take this conversation now. That says nothing about you; somebody else may be free.",
    "busy": "They are with someone else right now. Try again a little later, or try somebody else.",
    "stale": "Their card has been renewed since. Start again and it will find the new one.",
    "no door": "None of their doors could be reached. Try again in a minute, or try somebody else.",
    "no answer": "Nobody answered. That is about them being away, not about you. Try somebody else, or a group.",
    "blocked": "This contact is ended.",
    "kept": "This conversation is put away.",
}


_WHY_NO_FEEDBACK = {
    "no grant": "nobody who credentials them takes part in it",
    "no voucher": "theirs are used up for now",
    "issuer away": "whoever credentials them cannot be reached",
    "refused": "what they showed does not hold",
    "no answer": "their side did not take part",
}


def mark_of(avatar: bytes) -> str:
    """A small picture drawn from an avatar's seed."""
    marks = _MARKS.split()
    return marks[avatar[0] % len(marks)] if avatar else "·"


def made_up_name(seed: bytes) -> str:
    """A friendly name from two random bytes, for people who do not want to think of one."""
    weather, things = _WEATHER.split(), _THINGS.split()
    return f"{weather[seed[0] % len(weather)]} {things[seed[1] % len(things)]}"


def sentence(event: session.SessionEvent) -> tuple[str, str] | None:
    """(words, ANSI style) for an event, or None where the person need not be told."""
    match event:
        case session.HelloHeld():
            return "Your hello is at their door. They see it as soon as they look.", DIM
        case session.StillWaiting(seconds):
            return (
                f"Still waiting after {seconds // 60 or 1} min. You can stay, or /leave and try a group or somebody "
                "else. A helpline of your country is there at any hour.",
                WARM,
            )
        case FeedbackReady():
            return (
                "When this is over you may say whether you would talk to them again: one answer without your name, "
                "and blurred, so that nobody can hold it against you.",
                DIM,
            )
        case FeedbackNone(why):
            return (
                f"No feedback about this conversation is possible now ({_WHY_NO_FEEDBACK.get(why, why)}), so please do "
                "not take them as verified here. You can talk all the same.",
                WARM,
            )
        case session.QueueLost():
            return "A node that kept messages for you is gone; another one takes its place.", DIM
        case said.Joined(name=name, host=host):
            return (f"{name} is here." if host else f"{name} has joined."), BOLD
        case said.TextReceived(name=name, text=text, late=late, again=again):
            return f"{name}: {text}" + ("  (arrived late)" if late else "") + (
                "  (perhaps shown before)" if again else ""
            ), ""
        case said.Gap(count=count):
            return f"{count} message{'s' if count > 1 else ''} of theirs did not arrive.", WARM
        case said.PeerAway():
            return "They have not fetched your last message yet. It waits for them.", DIM
        case said.PeerBack():
            return "They are back.", DIM
        case said.Left(name=name, why=why):
            return (f"{name} was asked to leave." if why == "removed" else f"{name} has left."), DIM
        case said.ReadOnly():
            return "The host is away for a moment, so nothing can be said just now.", WARM
        case said.Writable():
            return "The host is back; you can write again.", DIM
        case said.SuccessorNamed(name=name):
            return f"{name} takes over the room.", DIM
        case said.ThreadOffered():
            return "They ask whether you two may find each other again. /yes or /no; both can forget it later.", WARM
        case said.ThreadAgreed():
            return "You may both find each other again.", BOLD
        case said.ThreadDeclined():
            return "They would rather not keep a thread. That says nothing about you.", DIM
        case said.ThreadKnown():
            return "They know you from before.", DIM
        case said.BackupAsked(words=asked):
            why = f": “{asked}”" if asked else "."
            return f"They would like a second peer to join you{why} Nobody joins unless you say so. /yes or /no", WARM
        case said.BackupAnswered(yes):
            return ("They said yes to a second peer." if yes else "They would rather not have a second peer."), WARM
        case said.Invited():
            return "They opened a room for this.", DIM
        case said.SuccessionNamed():
            return "The host ends this room; somebody else opens the next one.", WARM
        case said.Muted(name=name):
            return f"{name} listens for now.", DIM
        case said.Unmuted(name=name):
            return f"{name} can speak.", DIM
        case said.SlowMode(ms=ms):
            return (f"Slow mode: one message each in {ms // 1000} s." if ms else "Slow mode is over."), DIM
        case said.CoFacilitates(name=name, ended=ended):
            return f"{name} {'no longer facilitates' if ended else 'facilitates too'}.", DIM
        case said.Rejoined(name=name):
            return f"{name} had lost the thread and is back.", DIM
        case said.AsideAsked(name=name):
            return (
                f"{name} asks whether you want a word in private, just you two. /yes or /no; no needs no reason.",
                WARM,
            )
        case said.AsideAnswered(name=name, yes=yes):
            return (
                f"{name} {'would like a word in private and comes to your door' if yes else 'would rather not'}.",
                WARM,
            )
        case said.Facilitated(name=name, verb=verb, target=target):
            return f"{name} had this done: {verb} {target}.", DIM
        case said.SecondFacilitatorGone(people=people):
            return (
                f"{people} people and nobody facilitates with you: /cofacilitate NAME, until then nobody comes in.",
                WARM,
            )
        case said.OutOfStep():
            return "The thread was lost. If it is not found again in a minute, leave and say hello once more.", WARM
        case said.Closed(why):
            return _ENDS.get(why, f"This conversation has ended ({why})."), BOLD
        case _:
            return None


def day(when_ms: int) -> str:
    """The date of a moment, where the person is."""
    return datetime.fromtimestamp(when_ms / 1000).strftime("%d %B %Y")


def clock(until_ms: int) -> str:
    """The day and time of a moment, where the person is."""
    return datetime.fromtimestamp(until_ms / 1000).strftime("%a %H:%M")


def fate(state: said.MessageState, text: str) -> tuple[str, str] | None:
    """What became of one of the person's own messages; None while all is well and quiet."""
    shown = text if len(text) <= 40 else text[:39] + "…"
    match state.state:
        case "delivered":
            return f"  ✓ they have “{shown}”", DIM
        case "held" if state.why:
            where = f"at a node until {clock(state.until_ms)}"
            return f"  … “{shown}” waits for them {where}; this conversation ended before they confirmed it", DIM
        case "held":
            return None
        case "waiting" if state.why:
            return f"  … “{shown}” waits: {state.why}", DIM
        case "expired":
            return f"  ✗ nobody confirmed “{shown}” before its time ran out. They may not have seen it.", ALARM
        case "refused" if state.why in ("left", "blocked", "closed"):
            return f"  ✗ “{shown}” had not been sent when this conversation ended", ALARM
        case "refused" if state.why == "muted":
            return f"  ✗ “{shown}” was not shown: you are listening only for now", ALARM
        case "refused" if state.why == "slow mode":
            return f"  ✗ “{shown}” was not shown: it came too soon for this room's slow mode", ALARM
        case "refused" if state.why in ("peer left", "host gone"):
            return f"  … they left before it was known whether “{shown}” reached them", DIM
        case "refused":
            return f"  ✗ “{shown}” was not sent: {state.why}", ALARM
        case _:
            return None
