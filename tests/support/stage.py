"""A whole conversation across machines: seeker, entry, queue nodes, directory node, supporter, each in its own place.

The programs are the real commands. Everything is kept of what they left: packets, stores, logs, printed lines; memory
is read while they run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from support.commands import EXAMPLE, PASSPHRASE, Node, Program, run
from support.namespaces import Place, Wires, wires
from support.pcap import Capture
from warmline.daemon import control

NAME = "Marmalade Otter"
LINE = "the kettle and I are both at boiling point tonight"
SEARCHED = "sea-glass-and-thunder"
UNREAD = ("a word", "a line of several words, and then some more of them", "much. " * 400 + "more")
"""Said while the supporter's program stands still, so that nodes hold them."""
SHORT = "oh"
LONG = "the long way round, with every turning of it told. " * 36 + "there"
ANSWER = "small words that nobody else may read"
SECRETS = tuple(text.encode() for text in (NAME, LINE, SEARCHED, LONG[:50], ANSWER))
ROLES = {
    # name: fields of its configuration that are not the defaults
    "entry": "[queues]\nenabled = false\n[relay]\nenabled = true\n",
    "queue1": "[queues]\nenabled = true\n[relay]\nenabled = false\n",
    "queue2": "[queues]\nenabled = true\n[relay]\nenabled = false\n",
    "directory": "[queues]\nenabled = false\n[relay]\nenabled = false\n",
}


@dataclass(slots=True)
class Scene:
    """What is there after the conversation, with everybody still running."""

    places: dict[str, Place]
    nodes: dict[str, Node]
    programs: dict[str, Program]
    peerstores: dict[str, Any] = field(default_factory=dict)

    def captures(self) -> dict[str, Capture]:
        """End the recorders; each place's packets. No packet may be missing."""
        found = {}
        for name, place in self.places.items():
            assert place.recorder is not None
            written, lost = place.recorder.end()
            assert written, name
            assert not lost, f"{lost} packets of {name} were not recorded"
            found[name] = Capture.read(name, place.recorder.file)
        return found


def start_node(folder: Path, place: Place, bootstrap: str, settings: str, stack: ExitStack) -> Node:
    home = folder / place.name
    words = ["--operator", f"The {place.name} house", "--listen", f"/ip4/{place.ip}/tcp/7400"]
    words += ["--bootstrap", bootstrap] if bootstrap else []
    done = run("node", "init", "--data", str(home), *words)
    assert done.returncode == 0, done.stderr
    config = home / "config.toml"
    config.write_text(_with_settings(config.read_text(), settings))
    node = Node(home, "--verbose", prefix=place.prefix)
    stack.callback(node.close)
    return node


def _with_settings(text: str, settings: str) -> str:
    """Replace whole sections of a configuration."""
    for name, body in re.findall(r"\[(\w+)\]\n([^\[]*)", settings):
        text = re.sub(rf"(?ms)^\[{name}\].*?(?=^\[|\Z)", f"[{name}]\n{body}\n", text)
    return text


@contextmanager
def a_scene(folder: Path) -> Iterator[Scene]:
    """Seeker and supporter have talked, and still are there, as are the nodes. Everything ends with the block."""
    with ExitStack() as stack:
        net: Wires = stack.enter_context(wires(folder))
        places = {name: net.place(name) for name in (*ROLES, "seeker", "supporter", "stranger")}
        nodes: dict[str, Node] = {}
        for name, settings in ROLES.items():
            first = nodes["entry"].join if nodes else ""
            nodes[name] = start_node(folder, places[name], first, settings, stack)
        for node in nodes.values():
            node.wait_status("nodes_known", lambda known: known == len(ROLES))
        scene = Scene(places, nodes, {})
        entry = ("--entry", nodes["entry"].join)
        _publish(folder, places["supporter"], entry)
        _search(places["seeker"], entry)
        _talk(scene, folder, entry, stack)
        scene.peerstores = {name: peerstore(node) for name, node in nodes.items()}
        yield scene


def _publish(folder: Path, place: Place, entry: tuple[str, ...]) -> None:
    home = str(folder / "marta")
    card = ("supporter", "card", "--name", "Marta", "--language", "en", "--topic", "grief")
    for words in (card, ("groups", "publish", str(EXAMPLE))):
        done = run(*words, "--data", home, *entry, passphrase=PASSPHRASE, prefix=place.prefix)
        assert done.returncode == 0, done.stderr


def _search(place: Place, entry: tuple[str, ...]) -> None:
    words = ("groups", "find", "--topic", "grief", "--topic", SEARCHED, "--json")
    done = run(*words, *entry, prefix=place.prefix)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout), "nothing was found, so nothing was fetched"


def _talk(scene: Scene, folder: Path, entry: tuple[str, ...], stack: ExitStack) -> None:
    home = str(folder / "marta")
    for name in ("there", "here"):
        (folder / name).mkdir()
    words = ("supporter", "duty", "--data", home, *entry)
    duty = Program(folder / "there", *words, passphrase=PASSPHRASE, prefix=scene.places["supporter"].prefix)
    stack.callback(duty.close)
    duty.wait("on_duty")
    words = ("talk", "--with", "Marta", "--adult", "--name", NAME, "--line", LINE, *entry)
    seeker = Program(folder / "here", *words, prefix=scene.places["seeker"].prefix)
    stack.callback(seeker.close)
    scene.programs = {"supporter": duty, "seeker": seeker}
    knock = duty.wait("knock")
    assert (knock["name"], knock["line"]) == (NAME, LINE)
    duty.do(do="accept", to=knock["knock"])
    seeker.wait("joined")
    for text in (SHORT, LONG, SHORT, LONG):
        seeker.do(do="say", text=text)
        shown = duty.wait("text_received", text=text)
        seeker.wait("message_state", state="delivered", id=seeker.wait("sent")["id"])
    duty.do(do="say", to=str(shown["place"]), text=ANSWER)
    seeker.wait("text_received", text=ANSWER)


def peerstore(node: Node) -> Any:
    """What the running node remembers of its peers."""
    return trio.run(control.ask, node.folder / "control.sock", "peerstore")
