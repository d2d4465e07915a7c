"""How a command line ends: one sentence and the right status, whatever stops it."""

import dataclasses
import io
import os
import signal
import sys

import pytest

from experiments.shared import cli
from jaxgrow.errors import UserError


@dataclasses.dataclass
class Fields:
    batch_size: int = 1


def end(capsys, body):
    status = cli.run(body, Fields)
    return status, capsys.readouterr().err


def refuse(console):
    raise UserError("wrong.")


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (lambda console: None, 0, ""),
        (refuse, 2, "error: wrong.\n"),
        (
            lambda console: signal.raise_signal(signal.SIGINT),
            130,
            "stopped: nothing is lost; the same command goes on.\n",
        ),
        (
            lambda console: signal.raise_signal(signal.SIGTERM),
            143,
            "stopped: SIGTERM came: nothing is lost; the same command goes on.\n",
        ),
    ],
)
def test_an_end_is_one_sentence_and_a_status(capsys, body, status, sentence):
    before = signal.getsignal(signal.SIGTERM)
    # A shell starts jobs in the background with SIGINT ignored.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert end(capsys, body) == (status, sentence)
    finally:
        signal.signal(signal.SIGINT, inherited)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("speak", ["console", "print", "help"])
@pytest.mark.parametrize("what", ["closed pipe", "full disk"])
def test_output_that_takes_no_text_is_one_sentence(capsys, monkeypatch, speak, what):
    def body(console):
        if speak == "console":
            console.print("text")
        else:
            print("text")
        if speak == "help":
            raise SystemExit(0)

    if what == "closed pipe":
        there, here = os.pipe()
        os.close(there)
    else:
        here = os.open("/dev/full", os.O_WRONLY)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(io.FileIO(here, "w")))
        status = cli.run(body, Fields)
        sys.stdout.close()  # which writes what is left, or fails
    reason = "Broken pipe" if what == "closed pipe" else "No space left on device"
    assert status == 128 + signal.SIGPIPE
    sentence = f"stopped: the output takes no more text ({reason}).\n"
    assert capsys.readouterr().err == sentence


def test_names_that_are_not_in_the_output_s_encoding_are_printed(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert cli.run(lambda console: console.print("ü \udcff"), Fields) == 0
    assert out.buffer.getvalue() == b"\\xfc \\udcff\n"


def test_without_standard_output_a_command_runs(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.run(lambda console: console.print("text"), Fields) == 0
