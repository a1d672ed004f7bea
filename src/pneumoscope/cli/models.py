"""`pneumoscope models`."""

from dataclasses import asdict

import typer

from pneumoscope.cli.options import JsonOption, print_json


def models(as_json: JsonOption = False) -> None:
    """List every architecture with its trainable and frozen parameters."""
    from pneumoscope.models.catalogue import architectures

    records = [
        {
            "architecture": architecture.name,
            "classes": classes,
            **asdict(count),
            "description": architecture.description,
        }
        for architecture in architectures()
        for classes, count in architecture.parameters.items()
    ]
    if as_json:
        print_json(records)
        return
    typer.echo(f"{'architecture':<14}{'classes':>8}{'trainable':>13}{'frozen':>13}  description")
    for record in records:
        typer.echo(
            f"{record['architecture']:<14}{record['classes']:>8}{record['trainable']:>13,}{record['frozen']:>13,}  "
            f"{record['description']}"
        )
