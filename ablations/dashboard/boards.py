"""The saved workspace and the Report of a study.

Everything that a board says comes as values (`shown`); what its panels draw, the server takes from
the study's runs and from its analysis run. Longer than most: the only file that may import
wandb_workspaces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as reports
import wandb_workspaces.workspaces as workspaces
from wandb_workspaces import expr

from ablations.dashboard.analysis import ANALYSIS, FIGURES
from ablations.dashboard.server import in_words, is_gone
from ablations.dashboard.shown import Shown, safe
from ablations.publishing.shown import COMPONENT, group_of, tag_of
from lightning_modules.tracking import AXIS

CURVES = {"val/top1": "top-1 on minival (%)", "train/loss": "loss in training"}
_OF_EFFECTS = ("waterfall", "forest", "split", "interactions")
_OF_CURVES = ("curves",)
_OF_COST = ("cost",)
_VALUE = "result/top1"
_COSTS = {
    "result/seconds": "seconds of a run",
    "result/params": "parameters",
    "result/macs": "multiply-adds of an image",
    "result/peak_memory_bytes": "peak memory (bytes)",
}
_NO_DOUBTS = "Nothing was noted."
_WIDTH = 24  # columns of a Report's grid
_TITLE = 128  # longest that the server takes
_MOST_GROUPS = 100  # lines of one plot


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where on the server a study is."""

    entity: str
    project: str
    analysis: str  # the identity of its analysis run
    figures: tuple[str, ...]  # keys of that run's images
    tables: tuple[str, ...]  # and of its tables


def save_workspace(shown: Shown, place: Place, url: str | None) -> tuple[str, bool]:
    """Save a study's workspace; return its address, and whether it is a new one.

    Args:
        shown: what the study says.
        place: where its runs are.
        url: of the view to update; None: there is none yet. One that is gone is made anew.
    """
    board: Any = workspaces.Workspace(entity=place.entity, project=place.project)
    known = _loaded(url, workspaces.Workspace.from_url)
    if known is not None:
        board = known
    board.name = f"ablate {shown.study}"
    board.sections = list(_sections(shown, place))
    board.settings = workspaces.WorkspaceSettings(x_axis=AXIS, max_runs=_MOST_GROUPS)
    board.runset_settings = workspaces.RunsetSettings(
        filters=expr.And(expr.Metric("Group") == group_of(shown.study)),
        order=[expr.Ordering(expr.Config("step"), ascending=True)],
        pinned_columns=[
            "config:arm.value",
            "config:seed.value",
            f"summary:{_VALUE}",
            "summary:outcome/status",
        ],
    )
    with in_words("the workspace cannot be saved"):
        board.save()
        return str(board.url), known is None


def save_report(
    shown: Shown, place: Place, url: str | None, made: Sequence[str]
) -> tuple[str, bool]:
    """Save a study's Report; return its address, and whether it is a new one.

    Args:
        shown: what the study says.
        place: where its runs are.
        url: of the Report to update, as in `save_workspace`.
        made: how it was made: the version and the command, in lines.
    """
    blank: Any = reports.Report  # its fields are pydantic's, of which mypy asks too many
    board = blank(entity=place.entity, project=place.project)
    known = _loaded(url, reports.Report.from_url)
    if known is not None:
        board = known
    board.title = f"What each change is worth: {shown.study}"[:_TITLE]
    board.description = shown.measured
    board.width = "fixed"
    board.blocks = list(_blocks(shown, place, made))
    with in_words("the report cannot be saved"):
        board.save()
        return str(board.url), known is None


def _sections(shown: Shown, place: Place) -> Iterable[Any]:
    text = [*(safe(one) for one in (*shown.headline, *shown.split)), shown.markdown]
    doubts = "\n".join(f"- {safe(one)}" for one in shown.doubts) or _NO_DOUBTS
    answer = reports.MarkdownPanel(markdown="\n\n".join(text))
    yield _section("Effects", [answer, *_figures(place, _OF_EFFECTS), *_tables(place, "effects")])
    yield _section("Curves", [*_curves(), *_figures(place, _OF_CURVES)])
    yield _section("Curves with and without each component", _of_components(shown), is_open=False)
    yield _section("Cost and accuracy", [*_costs(), *_tables(place, "arms")])
    compared = [reports.RunComparer(diff_only=True), *_tables(place, "recipes")]
    yield _section("Recipes", compared, columns=1)
    yield _section("What to doubt", [reports.MarkdownPanel(markdown=doubts)], columns=1)


def _section(name: str, panels: Iterable[Any], columns: int = 2, *, is_open: bool = True) -> Any:
    return workspaces.Section(
        name=name,
        panels=list(panels),
        is_open=is_open,
        layout_settings=workspaces.SectionLayoutSettings(columns=columns, rows=2),
        panel_settings=workspaces.SectionPanelSettings(x_axis=AXIS),
    )


def _curves() -> Iterable[Any]:
    """Yield a plot per curve: the mean of each arm, and a band that spans its seeds."""
    for name, title in CURVES.items():
        yield reports.LinePlot(
            title=f"{title}, by arm",
            x=AXIS,
            y=[name],
            groupby=reports.Config("arm"),
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
            smoothing_type="none",
            max_runs_to_show=_MOST_GROUPS,
        )


def _of_component(key: str) -> Iterable[Any]:
    for name, title in CURVES.items():
        yield reports.LinePlot(
            title=f"{title}: {key} true or false, over all arms",
            x=AXIS,
            y=[name],
            # As the server has it: a key of a component may hold a dot, which is no level here.
            groupby=f"{COMPONENT}{key}.value",
            groupby_aggfunc="mean",
            groupby_rangefunc="stderr",
            smoothing_type="none",
        )


def _of_components(shown: Shown) -> Iterable[Any]:
    for key in shown.components:
        yield from _of_component(key)


def _costs() -> Iterable[Any]:
    for name, title in _COSTS.items():
        yield reports.ScatterPlot(
            title=f"top-1 (%) against {title}",
            x=reports.SummaryMetric(name),
            y=reports.SummaryMetric(_VALUE),
        )


def _figures(place: Place, wanted: Sequence[str]) -> Iterable[Any]:
    for name in wanted:
        if (key := f"{FIGURES}{name}") in place.figures:
            yield reports.MediaBrowser(title=name, media_keys=[key], num_columns=1)


def _tables(place: Place, *wanted: str) -> Iterable[Any]:
    for name in wanted:
        if name in place.tables:
            yield reports.WeavePanelSummaryTable(table_name=name)


def _blocks(shown: Shown, place: Place, made: Sequence[str]) -> Iterable[Any]:
    analysis = [_runs(place, "analysis", [expr.Metric("ID") == place.analysis])]
    trained = [expr.Metric("Group") == group_of(shown.study), expr.Metric("JobType") != ANALYSIS]
    for sentence in (*shown.headline, *shown.split):
        yield reports.P(sentence)  # as text: nothing in it is markup
    yield reports.H2("Effects")
    yield reports.MarkdownBlock(shown.markdown)
    yield _grid(analysis, _wide([*_figures(place, _OF_EFFECTS), *_tables(place, "effects")]))
    yield reports.H2("Curves")
    yield _grid([_runs(place, "by arm", trained, ["config.arm"])], _halves(_curves()))
    yield _grid(analysis, _wide(_figures(place, _OF_CURVES)))
    yield from _with_and_without(shown, place, trained)
    yield reports.H2("Cost and accuracy")
    yield _grid([_runs(place, "runs", trained)], _halves(_costs()))
    yield _grid(analysis, _wide([*_figures(place, _OF_COST), *_tables(place, "arms")]))
    yield reports.H2("Recipes compared")
    first = [] if shown.first_seed is None else [expr.Config("seed") == shown.first_seed]
    one_each = [_runs(place, "one run of each arm", [*trained, *first])]
    yield _grid(one_each, _wide([reports.RunComparer(diff_only=True)]))
    yield _grid(analysis, _wide(_tables(place, "recipes")))
    yield reports.H2("What to doubt")
    yield reports.UnorderedList(items=list(shown.doubts) or [_NO_DOUBTS])
    yield reports.H2("How this was made")
    yield reports.P(shown.measured)
    yield reports.CodeBlock(code="\n".join(made), language=None)


def _with_and_without(shown: Shown, place: Place, trained: Sequence[Any]) -> Iterable[Any]:
    """Yield a grid per component, with a run set of the runs that have it and one of the others."""
    if shown.components:
        yield reports.H2("With and without each component")
        yield reports.P(
            "Over all arms of the study, which differ in other components too: these curves show"
            " how training went, and are not the effects above."
        )
    for key in shown.components:
        if (filters := _has(key)) is not None:
            yield reports.H3(key)
            names = (f"with {key}", f"without {key}")
            yield _grid(
                [
                    _runs(place, name, [*trained, one])
                    for name, one in zip(names, filters, strict=True)
                ],
                _halves(_of_component(key)),
            )


def _has(key: str) -> tuple[Any, Any] | None:
    """Return the filters of the runs that have a component, and of those that have not.

    The client writes filters as text and reads them again; `=`, `<`, `>` and quotes, which it would
    read as its own, are in no key of ours. A dot (`package.module:Name`) would be a level of the
    configuration: there the tags say the same.
    """
    if re.fullmatch(r"[\w:/-]+", key):
        has = expr.Config(f"{COMPONENT}{key}")
        return has == True, has == False  # noqa: E712
    if re.fullmatch(r"[\w.:/-]+", key):
        tag = tag_of(key)
        return expr.Tags().isin([tag]), expr.Tags().notin([tag])
    return None


def _runs(place: Place, name: str, filters: Sequence[Any], groupby: Sequence[str] = ()) -> Any:
    return reports.Runset(
        entity=place.entity,
        project=place.project,
        name=name,
        filters=expr.And(*filters),
        groupby=list(groupby),
    )


def _grid(runsets: Sequence[Any], panels: Iterable[Any]) -> Any:
    return reports.PanelGrid(runsets=list(runsets), panels=list(panels))


def _wide(panels: Iterable[Any]) -> Iterable[Any]:
    return _laid(panels, _WIDTH, 12)


def _halves(panels: Iterable[Any]) -> Iterable[Any]:
    return _laid(panels, _WIDTH // 2, 8)


def _laid(panels: Iterable[Any], width: int, height: int) -> Iterable[Any]:
    across = _WIDTH // width
    for place, panel in enumerate(panels):
        panel.layout = reports.Layout(
            x=place % across * width, y=place // across * height, w=width, h=height
        )
        yield panel


def _loaded(url: str | None, load: Callable[[str], Any]) -> Any:
    """Return a board as the server has it; None where there is none yet, or no more.

    Raises:
        ServerError: the server does not answer, or the board is none that the client can read. One
            that is still there is not doubled.
    """
    if url is None:
        return None
    with in_words(f"{url} cannot be updated (deleted there, it is made anew)"):
        try:
            return load(url)
        except Exception as error:
            if is_gone(error):
                return None
            raise
