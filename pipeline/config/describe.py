"""`alexnet describe`: the layer table of the configured net, and the sizes of the paper's nets."""

from __future__ import annotations

from typing import Any

from alexnet.architectures import ARCHITECTURES, architecture
from alexnet.layers import Architecture, Convolution, Shape
from alexnet.recipe import recipe
from pipeline.config.parameters import Parameters

PUBLISHED_CLASSES = 1000


def description(parameters: Parameters, classes: int) -> dict[str, Any]:
    """Return the layer table as plain values.

    Returns:
        For each of the `layers` its kernels, shapes, and the parameters and multiply-adds of all
        columns together; the totals of the net; and `published`, the totals of each architecture
        at full width with 1000 classes.
    """
    table = parameters.layer_table(classes)
    published = {name: architecture(name, recipe("source"), PUBLISHED_CLASSES)
                 for name in ARCHITECTURES}
    return {"architecture": parameters.architecture,
            "recipe": parameters.recipe.name, "width": parameters.network.width,
            "classes": classes, "columns": table.columns,
            "parameters": table.parameters, "macs": table.macs,
            "layers": [_layer(table, shape) for shape in table.shapes()],
            "published": [{"architecture": name, "parameters": net.parameters, "macs": net.macs}
                          for name, net in published.items()],
    }


def _layer(table: Architecture, shape: Shape) -> dict[str, Any]:
    layer, columns = shape.layer, table.held_by(shape.layer)
    maps = layer.outputs * columns
    kernel, output, leaves = {}, [maps], [maps]
    if isinstance(layer, Convolution):
        kernel = {"size": layer.size, "stride": layer.stride, "padding": list(layer.padding)}
        output, leaves = [maps, shape.side, shape.side], [maps, *[shape.output_side] * 2]
    return {"name": layer.name, "columns": columns, "outputs_per_column": layer.outputs,
            "sees": layer.sees, "weight_per_column": list(shape.weight), **kernel,
            "output": output, "after": list(layer.after), "leaves": leaves,
            "init_std": table.init_std(shape), "init_bias": layer.init_bias,
            "parameters": shape.parameters * columns, "macs": shape.macs * columns}


def show(net: dict[str, Any]) -> None:
    """Print a description as tables."""
    from rich.console import Console

    from pipeline.system.tables import print_table, terminal_table

    console = Console(highlight=False)
    console.print(f"{net['architecture']}, {net['recipe']} recipe, width {net['width']:g}, "
                  f"{net['classes']} classes")
    table = terminal_table()
    for heading in ("layer", "kernels", "reads", "output"):
        table.add_column(heading, no_wrap=True)
    for heading in ("parameters", "MACs"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("then")
    for layer in net["layers"]:
        kernels = "+".join([str(layer["outputs_per_column"])] * layer["columns"])
        if "size" in layer:
            kernels += (f" {layer['size']}x{layer['size']}"
                        + f"/{layer['stride']}" * (layer["stride"] > 1))
        table.add_row(layer["name"], kernels, layer["sees"] if net["columns"] > 1 else "all",
                      "x".join(map(str, layer["output"])), f"{layer['parameters']:,}",
                      f"{layer['macs']:,}", " ".join(layer["after"]))
    table.add_section()
    table.add_row("total", "", "", "", f"{net['parameters']:,}", f"{net['macs']:,}", style="bold")
    print_table(table, console)
    console.print(f"At full width with {PUBLISHED_CLASSES} classes")
    published = terminal_table()
    published.add_column("architecture")
    for heading in ("parameters", "MACs"):
        published.add_column(heading, justify="right")
    for other in net["published"]:
        published.add_row(other["architecture"], f"{other['parameters']:,}", f"{other['macs']:,}")
    print_table(published, console)
