"""The layer table of the configured net, and the sizes of the nets that the paper names. `alexnet
describe`."""

from __future__ import annotations

from typing import Any

from alexnet.architectures import ARCHITECTURES, architecture
from alexnet.layers import Architecture, Convolution, Shape
from alexnet.recipe import recipe
from pipeline.config.parameters import Parameters

PUBLISHED_CLASSES = 1000


def described(parameters: Parameters, classes: int) -> dict[str, Any]:
    """The table as plain values: of every layer kernels, shapes, parameters and multiply-adds of
    all columns together; of the net its totals; and the totals of each architecture at full width
    with 1000 classes."""
    table = parameters.the_table(classes)
    published = {name: architecture(name, recipe("source"), PUBLISHED_CLASSES)
                 for name in ARCHITECTURES}
    return {"architecture": parameters.network.architecture,
            "recipe": parameters.recipe.name,
            "width": parameters.network.width, "classes": classes, "columns": table.columns,
            "parameters": table.parameters, "macs": table.macs,
            "layers": [_layer(table, shape) for shape in table.shapes()],
            "published": [{"architecture": name, "parameters": net.parameters, "macs": net.macs}
                          for name, net in published.items()],
    }


def _layer(table: Architecture, shape: Shape) -> dict[str, Any]:
    layer, columns = shape.layer, table.held_by(shape.layer)
    found: dict[str, Any] = {"name": layer.name, "columns": columns,
                             "outputs_per_column": layer.outputs, "sees": layer.sees,
                             "weight_per_column": list(shape.weight)}
    if isinstance(layer, Convolution):
        found |= {"size": layer.size, "stride": layer.stride, "padding": list(layer.padding)}
    maps = layer.outputs * columns
    found |= {"output": [maps, shape.side, shape.side]
              if isinstance(layer, Convolution) else [maps], "after": list(layer.after),
              "leaves": [maps, shape.output_side, shape.output_side]
              if isinstance(layer, Convolution) else [maps], "init_std": table.init_std(shape),
              "init_bias": layer.init_bias, "parameters": shape.parameters * columns,
              "macs": shape.macs * columns}
    return found


def show(told: dict[str, Any]) -> None:
    """Print it as tables."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"{told['architecture']}, {told['recipe']} recipe, width {told['width']:g}, "
                  f"{told['classes']} classes")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("layer", "kernels", "reads", "output"):
        table.add_column(heading, no_wrap=True)
    for heading in ("parameters", "MACs"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("then")
    for layer in told["layers"]:
        kernels = "+".join([str(layer["outputs_per_column"])] * layer["columns"])
        if "size" in layer:
            kernels += (f" {layer['size']}x{layer['size']}"
                        + f"/{layer['stride']}" * (layer["stride"] > 1))
        table.add_row(layer["name"], kernels, layer["sees"] if told["columns"] > 1 else "all",
                      "x".join(map(str, layer["output"])), f"{layer['parameters']:,}",
                      f"{layer['macs']:,}", " ".join(layer["after"]))
    table.add_section()
    table.add_row("total", "", "", "", f"{told['parameters']:,}", f"{told['macs']:,}", style="bold")
    console.print(table)
    console.print(f"At full width with {PUBLISHED_CLASSES} classes")
    published = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    published.add_column("architecture")
    for heading in ("parameters", "MACs"):
        published.add_column(heading, justify="right")
    for net in told["published"]:
        published.add_row(net["architecture"], f"{net['parameters']:,}", f"{net['macs']:,}")
    console.print(published)
