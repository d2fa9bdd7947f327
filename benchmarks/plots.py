"""Two plots, each as PNG and SVG: cost a message by client and scenario, and by body size."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from measure import Results
from scenarios import SIZES, Scenario

COLORS = {
    "floor": "#9e9e9e",
    "rabbitmq-c": "#5b8db8",
    "cpika": "#d1495b",
    "pika": "#edae49",
    "py-amqp": "#66a182",
    "amqpstorm": "#8d6a9f",
    "aio-pika": "#b8a07e",
}
BAR_INCHES = 0.13
GROUP_SPACE = 1.0
"""Bars."""


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)
    return paths


def plot_clients(folder: Path, scenarios: Sequence[Scenario], results: Results) -> list[Path]:
    """Bars: us a message (log), one group a scenario, one bar a client that took part in it."""
    shown = [s for s in scenarios if s.plotted and results.clients_of([s.name])]
    if not shown:
        return []
    rows = sum(len(results.clients_of([s.name])) + GROUP_SPACE for s in shown)
    figure, axes = plt.subplots(figsize=(9, 1 + BAR_INCHES * rows), layout="constrained")
    at = 0.0
    ticks = []
    for scenario in shown:
        clients = results.clients_of([scenario.name])
        ticks.append(at + (len(clients) - 1) / 2)
        for client in clients:
            values = results.values(scenario.name, client)
            median = statistics.median(values)
            reach = [[median - min(values)], [max(values) - median]]
            axes.barh(at, median, 1, color=COLORS[client], xerr=reach, error_kw={"linewidth": 0.6})
            at += 1
        at += GROUP_SPACE
    present = results.clients_of(s.name for s in shown)
    handles = [Rectangle((0, 0), 1, 1, color=COLORS[client]) for client in present]
    figure.legend(handles, present, loc="outside upper center", ncols=len(present), frameon=False)
    labels = [f"{s.title} (broker)" if s.where == "broker" else s.title for s in shown]
    axes.set_yticks(ticks, labels)
    axes.set_ylim(at - GROUP_SPACE, -1)
    axes.set_xscale("log")
    axes.set_xlabel("microseconds a message, median; lines from minimum to maximum (less is better)")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return save(figure, folder, "cost_by_client")


def plot_sizes(folder: Path, results: Results) -> list[Path]:
    """Lines: us a message by body size, both log; publish and consume side by side."""
    kinds = {"publish": "publish", "consume_auto": "consume, auto-ack"}
    names = [f"{kind}@{size}" for kind in kinds for size in SIZES]
    clients = results.clients_of(names)
    if not clients:
        return []
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axes, (kind, title) in zip(panels, kinds.items()):
        for client in clients:
            points = [(size, results.median(f"{kind}@{size}", client)) for size in SIZES]
            drawn = [(size, median) for size, median in points if median is not None]
            axes.plot(*zip(*drawn), marker="o", markersize=3, label=client, color=COLORS[client])
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(title)
        axes.set_xlabel("bytes of a body")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("microseconds a message, median")
    panels[0].legend(frameon=False)
    return save(figure, folder, "cost_by_size")
