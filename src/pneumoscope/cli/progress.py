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
    """Display of the progress of data stages and trainings."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console = console
        self._progress = progress
        self._task = progress.add_task("", total=None, visible=False, note="")
        self._began = time.monotonic()
        self._done = 0

    def print_line(self, line: str) -> None:
        """Prints a line."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def report(self, name: str) -> Follow:
        """Begins a data stage; gives the callback that follows it."""
        began = time.monotonic()
        self._progress.reset(self._task, total=None, description=name, visible=True, note="")

        def follow(done: int, total: int) -> None:
            self._progress.update(self._task, completed=done, total=total)
            if done == total:
                seconds = time.monotonic() - began
                self._progress.update(self._task, visible=False)
                self.print_line(f"{total:,} {name} in {seconds:.1f} s")

        return follow

    def stage(self, name: str, total: int | None) -> None:
        """Begins an epoch, a pass of a frozen base or a batch of `total` images; None where the number is unknown."""
        self._began, self._done = time.monotonic(), 0
        self._progress.reset(self._task, total=total, description=name, visible=True, note="")

    def advance(self, parts: int, loss: float | None = None) -> None:
        """Counts `parts` more images as done."""
        self._done += parts
        self._show(parts, loss)

    @property
    def on_terminal(self) -> bool:
        """Whether stderr is a terminal, on which a bar is drawn."""
        return self._console.is_terminal

    def note(self, parts: int, note: str) -> None:
        """Counts `parts` more parts as done and shows a note behind the bar."""
        self._progress.update(self._task, advance=parts, note=note)

    def skip(self, parts: int) -> None:
        """Counts `parts` parts as done by an earlier run; they do not count for the rate."""
        if parts:
            self._progress.update(self._task, advance=parts)
            self.print_line(f"{parts:,} were done already")

    def _show(self, parts: int, loss: float | None) -> None:
        rate = self._done / max(time.monotonic() - self._began, 1e-9)
        note = f"{rate:.0f} img/s" if loss is None else f"loss {loss:.3f}  {rate:.0f} img/s"
        self._progress.update(self._task, advance=parts, note=note)

    def epoch_done(self, result: EpochResult, epochs: int, waited: int) -> None:
        """Prints the line of an epoch that has ended."""
        self._progress.update(self._task, visible=False)
        patience = f"  (no better for {waited})" if waited else ""
        self.print_line(
            f"  epoch {result.epoch:>2}/{epochs}  loss {result.loss:.4f}  acc {result.accuracy:.3f}  "
            f"val_loss {result.val_loss:.4f}  val_acc {result.val_accuracy:.3f}  "
            f"{result.films_per_second:.0f} img/s  {result.seconds:.1f} s{patience}"
        )


@contextmanager
def display(advice: str = "run the same command again") -> Iterator[Display]:
    """Display during a command; Ctrl-C ends the command with one line of advice on how to resume, and exit code 130."""
    with interruptible(advice), _on_stderr() as shown:
        yield shown


@contextmanager
def _on_stderr() -> Iterator[Display]:
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
