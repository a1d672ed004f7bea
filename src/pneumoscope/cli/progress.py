"""Progress on stderr: bars on a terminal; elsewhere a line per stage or epoch, and every few seconds how far one is."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pneumoscope.cli.interrupt import interruptible
from pneumoscope.progress import Progress as Follow
from pneumoscope.training.callbacks import EpochResult

# Seconds, and fraction of a stage's duration, after which a line says how far it is where no bar shows it.
_SILENCE, _SILENCE_FRACTION = 5.0, 0.1


class Display:
    """Display of the progress of data stages and trainings."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console = console
        self._progress = progress
        self._task = progress.add_task("", total=None, visible=False, note="")
        self._began = self._stage_began = self._spoke = time.monotonic()
        self._done = 0
        self._watch: threading.Thread | None = None
        self._ended = threading.Event()

    def print_line(self, line: str) -> None:
        """Prints a line."""
        self._spoke = time.monotonic()
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def end(self) -> None:
        """Ends the thread that breaks the silence."""
        self._ended.set()
        if self._watch:
            self._watch.join()

    def _break_silence(self) -> None:
        """Begins to print how far a stage is whenever nothing has been printed for some seconds, where no bar shows it.

        Not before the first stage has begun its work: worker processes start sooner where there is no other thread.
        """
        if not self._watch and not self.on_terminal:
            self._watch = threading.Thread(target=self._watch_silence, daemon=True)
            self._watch.start()

    def _watch_silence(self) -> None:
        while not self._ended.wait(1):
            self._speak()

    def _speak(self) -> None:
        now = time.monotonic()
        [task] = self._progress.tasks
        if not task.visible or now - self._spoke < max(_SILENCE, _SILENCE_FRACTION * (now - self._stage_began)):
            return
        of = "" if task.total is None else f": {task.completed:,.0f} of {task.total:,.0f}"
        note = f"  {task.fields['note']}" if task.fields["note"] else ""
        self.print_line(f"  {task.description}{of}{note}, {now - self._stage_began:.0f} s")

    def _begin(self, name: str, total: int | None) -> None:
        self._stage_began = self._spoke = time.monotonic()
        self._progress.reset(self._task, description=name, visible=True, note="")
        # `reset` takes None for the total of before.
        self._progress.tasks[0].total = total

    def report(self, name: str) -> Follow:
        """Begins a data stage; gives the callback that follows it."""
        began = time.monotonic()
        self._begin(name, None)
        self._break_silence()

        def follow(done: int, total: int) -> None:
            self._progress.update(self._task, completed=done, total=total)
            if done == total:
                seconds = time.monotonic() - began
                self._progress.update(self._task, visible=False)
                counted = name if total == 1 else f"{total:,} {name}"
                self.print_line(f"{counted} in {seconds:.1f} s")

        return follow

    def stage(self, name: str, total: int | None) -> None:
        """Begins an epoch, a pass of a frozen base or a batch of `total` images; None where the number is unknown."""
        self._began, self._done = time.monotonic(), 0
        self._begin(name, total)

    def advance(self, parts: int, loss: float | None = None) -> None:
        """Counts `parts` more images as done."""
        self._break_silence()
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
        shown = Display(console, progress)
        try:
            yield shown
        finally:
            shown.end()
