"""`pneumoscope models`."""

from dataclasses import asdict

import typer

from pneumoscope.cli.options import JsonOption, print_json


def models(as_json: JsonOption = False) -> None:
    """List every architecture with its trainable and frozen parameters."""
    from pneumoscope.config import ModelConfig
    from pneumoscope.models.registry import architectures, build_model

    records = []
    for architecture in architectures():
        for classes in (2, 3):
            count = build_model(ModelConfig(architecture.name, classes)).count_parameters()
            records.append(
                {
                    "architecture": architecture.name,
                    "classes": classes,
                    **asdict(count),
                    "description": architecture.description,
                }
            )
    if as_json:
        print_json(records)
        return
    typer.echo(f"{'architecture':<14}{'classes':>8}{'trainable':>13}{'frozen':>13}  description")
    for record in records:
        typer.echo(
            f"{record['architecture']:<14}{record['classes']:>8}{record['trainable']:>13,}{record['frozen']:>13,}  "
            f"{record['description']}"
        )
