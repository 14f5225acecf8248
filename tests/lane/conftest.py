"""What holds for every test here that drives the console by keys."""

from tests.console.conftest import keys_are_done_when_pressed

__all__ = ["keys_are_done_when_pressed"]
