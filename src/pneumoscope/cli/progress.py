"""Progress on stderr: bars on a terminal, a line per stage or epoch elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pneumoscope.cli.interrupt import interruptible
from pneumoscope.progress import Progress as Follow
from pneumoscope.training.callbacks import EpochResult


class Display:
    """Draws what data stages and trainings tell."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console = console
        self._progress = progress
        self._task = progress.add_task("", total=None, visible=False, note="")
        self._began = time.monotonic()
        self._done = 0

    def say(self, line: str) -> None:
        """Prints a line."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def report(self, name: str) -> Follow:
        """Follows a data stage."""
        began = time.monotonic()
        self._progress.reset(self._task, total=None, description=name, visible=True, note="")

        def follow(done: int, total: int) -> None:
            self._progress.update(self._task, completed=done, total=total)
            if done == total:
                seconds = time.monotonic() - began
                self._progress.update(self._task, visible=False)
                self.say(f"{total:,} {name} in {seconds:.1f} s")

        return follow

    def stage(self, name: str, total: int | None) -> None:
        """An epoch, a pass of a frozen base or a batch of images begins; of how many, where that is known."""
        self._began, self._done = time.monotonic(), 0
        self._progress.reset(self._task, total=total, description=name, visible=True, note="")

    def advance(self, parts: int, loss: float | None = None) -> None:
        """So many more images are done."""
        self._done += parts
        self._show(parts, loss)

    @property
    def is_drawn(self) -> bool:
        """Whether there is a terminal to draw bars on."""
        return self._console.is_terminal

    def note(self, parts: int, note: str) -> None:
        """So many more parts are done; the note stands behind the bar."""
        self._progress.update(self._task, advance=parts, note=note)

    def skip(self, parts: int) -> None:
        """So many were done by an earlier run; they do not count for the rate."""
        if parts:
            self._progress.update(self._task, advance=parts)
            self.say(f"{parts:,} were done already")

    def _show(self, parts: int, loss: float | None) -> None:
        rate = self._done / max(time.monotonic() - self._began, 1e-9)
        note = f"{rate:.0f} img/s" if loss is None else f"loss {loss:.3f}  {rate:.0f} img/s"
        self._progress.update(self._task, advance=parts, note=note)

    def epoch_done(self, result: EpochResult, epochs: int, waited: int) -> None:
        """An epoch ended."""
        self._progress.update(self._task, visible=False)
        patience = f"  (no better for {waited})" if waited else ""
        self.say(
            f"  epoch {result.epoch:>2}/{epochs}  loss {result.loss:.4f}  acc {result.accuracy:.3f}  "
            f"val_loss {result.val_loss:.4f}  val_acc {result.val_accuracy:.3f}  "
            f"{result.films_per_second:.0f} img/s  {result.seconds:.1f} s{patience}"
        )


@contextmanager
def display(advice: str = "run the same command again") -> Iterator[Display]:
    """A display for the time of a command; Ctrl-C ends it with one line that says how to go on, and exit code 130."""
    with interruptible(advice), _drawn() as shown:
        yield shown


@contextmanager
def _drawn() -> Iterator[Display]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Display(console, progress)
