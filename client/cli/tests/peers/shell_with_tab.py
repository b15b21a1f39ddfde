"""Types into `zweig shell` at a pseudo-terminal, with Tab, and looks at what the screen shows. Argument: the binary."""

import os
import pty
import select
import sys
import time

PATIENCE = 60

pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], [sys.argv[1], "shell"])

screen = ""


def wait_for(text):
    """Reads until the text has been shown; what was shown before it is done with."""
    global screen
    deadline = time.monotonic() + PATIENCE
    while text not in screen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            sys.exit(f"{text!r} did not come: {screen!r}")
        try:
            more = os.read(terminal, 4096)
        except OSError:
            more = b""
        if not more:
            sys.exit(f"it ended before {text!r}: {screen!r}")
        screen += more.decode(errors="replace")
    screen = screen[screen.index(text) + len(text):]


def type_in(text):
    os.write(terminal, text.encode())


wait_for("(CONNECTED) 0] ")
type_in("ls /bro\t")
wait_for("ls /brokers")
type_in("/to\t\r")
wait_for("[orders]")
wait_for("(CONNECTED) 1] ")
type_in("topic desc\t")
wait_for("topic describe")
type_in(" or\t\r")
wait_for("LEADER")
wait_for("(CONNECTED) 2] ")
# Nothing but a line is ended by Ctrl-C.
type_in("ls /nothi\x03")
wait_for("(CONNECTED) 2] ")
type_in("addauth digest ada:secret\r")
wait_for("a new session")
wait_for("(CONNECTED) 3] ")
type_in("whoami\r")
wait_for("digest: ada")
wait_for("(CONNECTED) 4] ")
type_in("\x04")
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
print("well")
