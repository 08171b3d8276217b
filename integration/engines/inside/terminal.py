#!/usr/bin/python3
"""terminal.py STEP... -- COMMAND...: a person at a terminal.

Runs COMMAND on a terminal of 80 by 24 and does each STEP in turn:
  see:TEXT     wait until TEXT comes (after what was seen before)
  type:TEXT    type it; \\r, \\n and \\xNN are understood
  size:COLxROW resize the terminal
  end:CODE     wait for the end; the exit code must be CODE
All that the command wrote goes to standard output; exit code 1 and a word on standard error when a step fails.
"""
import fcntl
import os
import select
import signal
import struct
import sys
import termios
import time

PATIENCE = 20.0


class Terminal:
    def __init__(self, command):
        self.seen = b""
        self.resized = False
        self.child, self.master = os.forkpty()
        if self.child == 0:
            os.execvp(command[0], command)
        self.resize(80, 24)

    def resize(self, columns, rows):
        """A client that has just shown the first output may not listen to changes of size yet: see() tells it again."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.child, signal.SIGWINCH)

    def read(self, timeout):
        """Whether anything came; False at the end of the output, too."""
        if not select.select([self.master], [], [], timeout)[0]:
            return True
        try:
            data = os.read(self.master, 4096)
        except OSError:
            data = b""
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        self.seen += data
        return data != b""

    def see(self, text):
        end = time.monotonic() + PATIENCE
        again = time.monotonic() + 1
        while text not in self.seen:
            if time.monotonic() > end or not self.read(0.2):
                fail(f"never came: {text!r}")
            if self.resized and time.monotonic() > again:
                os.kill(self.child, signal.SIGWINCH)
                again += 1
        self.seen = self.seen.split(text, 1)[1]

    def end(self, code):
        end = time.monotonic() + PATIENCE
        while self.read(0.2):
            if time.monotonic() > end:
                fail("does not end")
        found = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        if found != code:
            fail(f"exit code {found}, not {code}")


def fail(why):
    print(f"\nterminal: {why}", file=sys.stderr)
    sys.exit(1)


def main():
    split = sys.argv.index("--")
    terminal = Terminal(sys.argv[split + 1:])
    for step in sys.argv[1:split]:
        kind, value = step.split(":", 1)
        if kind == "see":
            terminal.see(value.encode())
        elif kind == "type":
            # A person does not type before the prompt is there and settled.
            time.sleep(0.2)
            os.write(terminal.master, value.encode().decode("unicode_escape").encode("latin-1"))
        elif kind == "size":
            terminal.resize(*map(int, value.split("x")))
            terminal.resized = True
            time.sleep(0.3)
        elif kind == "end":
            terminal.end(int(value))
        else:
            fail(f"no step {step}")


main()
