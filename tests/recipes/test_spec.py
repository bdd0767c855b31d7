"""The grammar of `--add`: what it reads, what it writes back, and every message a user meets."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes import (
    Component,
    Levels,
    RecipeError,
    Schedule,
    format_spec,
    linear,
    parse,
    parse_levels,
)
from recipes.components import (
    BUNDLES,
    TABLE,
    CosineLR,
    LabelSmoothing,
    RandAugment,
    StochasticDepth,
    WeightAveraging,
    WeightDecay,
)

_BLUR = '''
    from __future__ import annotations
    from dataclasses import dataclass
    from recipes import Component, Kind

    @dataclass(frozen=True)
    class Blur(Component):
        """Blur."""
        key, kind = "blur", Kind.REGULARIZATION
        word: str = "a"
        sizes: tuple[float, ...] = ()
        limit: int | None = None
        share: float | None = None

        def edits(self, recipe):
            return {"model.dropout": 0.5}
'''


@pytest.mark.parametrize(
    ("text", "components"),
    [
        ("ls", [LabelSmoothing()]),
        (" cos , ls ", [CosineLR(), LabelSmoothing()]),
        ("ls()", [LabelSmoothing()]),
        ("ls(0.2)", [LabelSmoothing(epsilon=0.2)]),
        ("ls(epsilon=2e-1)", [LabelSmoothing(epsilon=0.2)]),
        ("ls( epsilon = 0.2 )", [LabelSmoothing(epsilon=0.2)]),
        ("ra(magnitude=15),ls", [RandAugment(magnitude=15.0), LabelSmoothing()]),
        ("ra(10, layers=3, space=timm)", [RandAugment(magnitude=10, layers=3, space="timm")]),
        ("wd(value=linear(1e-4, 4e-5))", [WeightDecay(value=linear(1e-4, 4e-5))]),
        ("wd(step(1e-4, 4e-5@0.3)),ls",
         [WeightDecay(Schedule("step", ((0, 1e-4), (0.3, 4e-5)))), LabelSmoothing()]),
        ("ema(warmup=no)", [WeightAveraging(warmup=False)]),
        ("sd(rule=linear)", [StochasticDepth(rule="linear")]),
        ("sd(rule='linear')", [StochasticDepth(rule="linear")]),
    ],
)  # fmt: skip
def test_what_is_read(text: str, components: list[Component]) -> None:
    assert list(parse(text)) == components


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_bundle_is_its_components_at_their_defaults(bundle: str) -> None:
    assert parse(bundle) == tuple(TABLE[key]() for key in BUNDLES[bundle])


def test_the_order_of_the_text_is_the_order_of_the_components() -> None:
    assert [component.key for component in parse("resnetd,ls,cos")] == ["resnetd", "ls", "cos"]


@given(st.lists(st.sampled_from(sorted(TABLE)), min_size=1, unique=True))
def test_components_read_back(keys: list[str]) -> None:
    text = ",".join(keys)
    assert format_spec(parse(text)) == text


@given(st.floats(0, 1), st.integers(0, 9))
def test_arguments_read_back_exactly(magnitude: float, layers: int) -> None:
    components = (RandAugment(magnitude=magnitude, layers=layers),)
    assert parse(format_spec(components)) == components


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' names no component; choose from cos, epochs, ema"),
        (" ", "names no component"),
        (",", "names no component"),
        ("ls,", "'ls,' leaves a component empty; choose from cos"),
        ("ls,,cos", "leaves a component empty"),
        ("lss", "there is no component 'lss': the components are cos, .* the bundles paper, tra"),
        ("lss", "did you mean 'ls'?"),
        ("papper", "did you mean 'paper'?"),
        ("LS", "there is no component 'LS'"),
        ("ls;cos", "there is no component 'ls;cos'"),
        ("\u00e9", "there is no component '\u00e9'"),
        ("(0.1)", "there is no component ''"),
        ("ls(", r"'ls\(': the brackets do not close"),
        ("ls)", r"'ls\)': the brackets do not close"),
        ("ls)(", "the brackets do not close"),
        ("ra(15", "the brackets do not close"),
        ("ra(15]", "the brackets do not close"),
        ("ra(15)x", "the brackets do not close"),
        ("sd(rule='linear)", "the quotes do not close"),
        ("ls(epsilonn=0.1)", "has no argument 'epsilonn'; did you mean 'epsilon'?"),
        ("ls(0.1, 0.2)", "has no argument '0.2'; it takes epsilon"),
        ("cos(1)", r"'cos\(1\)' has no argument '1'; it takes none"),
        ("ls(epsilon=0.1, epsilon=0.2)", "gives epsilon twice"),
        ("ls(0.1, epsilon=0.2)", "gives epsilon twice"),
        ("ls(epsilon=)", "epsilon = '' is not a number"),
        ("ls(a lot)", r"'ls\(a lot\)': epsilon = 'a lot' is not a number"),
        ("ls(nan)", "epsilon = 'nan' is not a finite number"),
        ("ra(layers=2.5)", "layers = '2.5' is not a whole number"),
        ("ema(warmup=maybe)", "warmup = 'maybe' is not true or false"),
        ("epochs(factor=linear(1, 2))", "cannot move during training: give a number"),
        ("wd(linear(1e-4,,4e-5))", "value = '' is not a number"),
        ("wd(bend(1, 0))", "not a number or a schedule: write 0.1 or one of linear"),
        ("wd(linear(linear(1, 0), 0))", "is not a number"),
        ("ls,cos,ls", "ls is named twice$"),
        (
            "paper,ls(0.2)",
            r"ls is named twice, as ls and as ls\(epsilon=0.2\) \(bundles count: paper is cos,",
        ),
        ("paper(1)", "the bundle 'paper' takes no arguments"),
        ("os.path", "'os.path' is not of the form package.module:Name"),
        ("os:", "'os:' is not of the form package.module:Name"),
        (":Name", "':Name' is not of the form package.module:Name"),
        ("os:nothing", "'os:nothing': os has no 'nothing'"),
        ("os:path", "'os:path' is not a subclass of recipes.Component"),
        ("nowhere.mine:Name", "there is no module 'nowhere' here or among the installed packages"),
    ],
)
def test_what_a_user_reads(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        parse(text)


def test_all_mistakes_are_told_together() -> None:
    with pytest.raises(RecipeError) as caught:
        parse("lss,ra(layer=2, magnitude=x),cos,do(-)")
    assert len(caught.value.problems) == 4


def test_a_user_s_component_needs_no_fork(
    user_module: Callable[[str, str], ModuleType],
) -> None:
    module = user_module("mine_spec", _BLUR)
    (component,) = parse("mine_spec:Blur(word=b)")
    assert component == module.Blur(word="b")
    assert str(component) == "mine_spec:Blur(word=b)"


@pytest.mark.parametrize(
    "arguments",
    [
        {"word": "a,b"},
        {"word": " a "},
        {"word": "(x)"},
        {"word": "it's"},
        {"sizes": (1 / 3, 2.0)},
        {"limit": 3},
        {"share": 1 / 3},
        {"word": "x=y", "sizes": (1.0,), "limit": 0, "share": 0.0},
    ],
)
def test_arguments_of_every_type_read_back(
    user_module: Callable[[str, str], ModuleType], arguments: dict[str, object]
) -> None:
    module = user_module("mine_types", _BLUR)
    components = (LabelSmoothing(), module.Blur(**arguments))
    read = parse(format_spec(components))
    assert read == components
    assert {name: type(value) for name, value in vars(read[1]).items()} == {
        name: type(value) for name, value in vars(components[1]).items()
    }


def test_none_is_a_value_where_it_is_declared(
    user_module: Callable[[str, str], ModuleType],
) -> None:
    module = user_module("mine_none", _BLUR)
    assert parse("mine_none:Blur(limit=none)") == (module.Blur(),)
    with pytest.raises(RecipeError, match="limit = '1.5' is not a whole number"):
        parse("mine_none:Blur(limit=1.5)")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("kind = Kind.TRAINING\n    def edits(self, recipe): return {}",
         "'mine_bad:Bad' needs a class attribute key, as key = 'blur'"),
        ("key = 'bad'\n    def edits(self, recipe): return {}",
         "'mine_bad:Bad' needs a class attribute kind, as kind = Kind.AUGMENTATION"),
        ("key, kind = 'bad', 'training'\n    def edits(self, recipe): return {}",
         "needs a class attribute kind"),
        ("key, kind = 'bad', Kind.TRAINING", r"needs a method edits\(self, recipe\)"),
        ("key, kind = 'bad', Kind.TRAINING\n    x: float = 0\n"
         "    def edits(self, recipe): return {}\n"
         "    def __post_init__(self): raise ValueError(f'x = {self.x} is too small')",
         r"'mine_bad:Bad\(x=-1\)': x = -1.0 is too small"),
    ],
)  # fmt: skip
def test_a_user_s_mistake_in_a_component_is_told(
    user_module: Callable[[str, str], ModuleType], body: str, words: str
) -> None:
    head = "from dataclasses import dataclass\nfrom recipes import Component, Kind\n"
    user_module("mine_bad", f"{head}@dataclass(frozen=True)\nclass Bad(Component):\n    {body}\n")
    with pytest.raises(RecipeError, match=words):
        parse("mine_bad:Bad(x=-1)" if "x:" in body else "mine_bad:Bad")


def test_a_component_without_its_decorator_is_told(
    user_module: Callable[[str, str], ModuleType],
) -> None:
    user_module("mine_bare", _BLUR.replace("@dataclass(frozen=True)", ""))
    with pytest.raises(RecipeError, match=r"is not a dataclass: decorate it with @dataclass\(fro"):
        parse("mine_bare:Blur(word=b)")


def test_a_type_that_is_nowhere_is_told(user_module: Callable[[str, str], ModuleType]) -> None:
    user_module("mine_hints", _BLUR.replace("word: str", "word: Word"))
    with pytest.raises(RecipeError, match="types of its arguments cannot be read: name 'Word'"):
        parse("mine_hints:Blur")


def test_a_module_that_fails_to_import_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thawed = textwrap.dedent(_BLUR).replace("(frozen=True)", "")
    (tmp_path / "mine_thawed.py").write_text(thawed)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "mine_broken.py").write_text("1 / 0\n")
    (tmp_path / "mine_needs.py").write_text("import not_installed_here\n")
    with pytest.raises(RecipeError, match="failed with TypeError: cannot inherit non-frozen"):
        parse("mine_thawed:Blur")
    with pytest.raises(RecipeError, match="importing mine_broken failed with ZeroDivisionError"):
        parse("mine_broken:X")
    with pytest.raises(RecipeError, match="there is no module 'not_installed_here'"):
        parse("mine_needs:X")


def test_an_installed_component_goes_by_its_entry_point(
    user_module: Callable[[str, str], ModuleType], tmp_path: Path
) -> None:
    folder = tmp_path / "mine-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[ablate.components]\nblur = mine_entry:Blur\n")
    module = user_module("mine_entry", _BLUR)
    (component,) = parse("blur(word=b)")
    assert component == module.Blur(word="b")
    assert parse(format_spec([component])) == (component,)


def test_a_user_s_key_does_not_hide_the_table_s(
    user_module: Callable[[str, str], ModuleType],
) -> None:
    user_module("mine_ls", _BLUR.replace('"blur"', '"ls"'))
    assert parse("ls") == (LabelSmoothing(),)
    assert format_spec(parse("mine_ls:Blur")) == "mine_ls:Blur"


@pytest.mark.parametrize(
    ("text", "alternatives"),
    [
        ("ra(magnitude=10|15|20)", [RandAugment(magnitude=m) for m in (10, 15, 20)]),
        ("ra( 20 | 5 )", [RandAugment(magnitude=m) for m in (20, 5)]),
        ("wd(value=linear(1e-4, 4e-5)|1e-4)",
         [WeightDecay(value=linear(1e-4, 4e-5)), WeightDecay(value=1e-4)]),
        ("sd(rule=linear|'stage')",
         [StochasticDepth(rule="linear"), StochasticDepth(rule="stage")]),
        ("ema(warmup=no|yes)", [WeightAveraging(warmup=False), WeightAveraging()]),
        # Several arguments are their product, in the order of the component's own arguments.
        ("ra(layers=2|3, magnitude=10|15)",
         [RandAugment(magnitude=m, layers=n) for m in (10, 15) for n in (2, 3)]),
        ("ra(layers=3, magnitude=10|15)", [RandAugment(magnitude=m, layers=3) for m in (10, 15)]),
    ],
)  # fmt: skip
def test_levels_are_read_and_read_back(text: str, alternatives: list[Component]) -> None:
    (found,) = parse_levels(text)
    assert isinstance(found, Levels)
    assert list(found.alternatives) == alternatives
    assert parse_levels(f"ls,{format_spec([found])}") == (LabelSmoothing(), found)


def test_without_levels_both_readings_are_one() -> None:
    with pytest.raises(RecipeError, match="named twice"):
        parse_levels("ls,training")
    assert parse_levels("se,training") == parse("se,training")


def test_levels_of_a_user_s_component(user_module: Callable[[str, str], ModuleType]) -> None:
    module = user_module("mine_levels", _BLUR)
    text = "mine_levels:Blur(word='a|b'|c|'', sizes=[1, 2]|[3], limit=none|2)"
    (found,) = parse_levels(text)
    assert isinstance(found, Levels)
    assert found.alternatives == tuple(
        module.Blur(word=word, sizes=sizes, limit=limit)
        for word in ("a|b", "c", "")
        for sizes in ((1.0, 2.0), (3.0,))
        for limit in (None, 2)
    )
    assert parse_levels(format_spec([found])) == (found,)
    for one in found.alternatives:
        assert parse(str(one)) == (one,)


def test_one_recipe_holds_one_level() -> None:
    with pytest.raises(RecipeError) as caught:
        parse("ls(0.1|0.2),se,ra(magnitude=10|15)")
    assert caught.value.problems == (
        "ls(epsilon=0.1|0.2) has levels, and a recipe holds one: choose one of them",
        "ra(magnitude=10|15) has levels, and a recipe holds one: choose one of them",
    )


def test_all_bad_levels_are_told_together() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_levels("ls(0.1|0.10),ra(magnitude=|5|x),lss(1|2),cos(1|2),se(0.3|)")
    assert len(caught.value.problems) == 6
    for words in (
        "'ls(0.1|0.10)': epsilon = '0.1|0.10' names the level 0.10 twice",
        "magnitude = '|5|x' leaves a level empty",
        "magnitude = 'x' is not a number",
        "there is no component 'lss'",
        "'cos(1|2)' has no argument '1|2'",
        "'0.3|' leaves a level empty",
    ):
        assert words in str(caught.value)


def test_more_levels_than_an_ablation_has_are_refused() -> None:
    many = "|".join(str(number) for number in range(5))
    with pytest.raises(RecipeError, match="has 25 combinations of levels; at most 24"):
        parse_levels(f"ra(magnitude={many}, layers={many})")


@pytest.mark.parametrize(
    "alternatives",
    [(), (LabelSmoothing(),), (LabelSmoothing(), StochasticDepth()),
     (LabelSmoothing(), LabelSmoothing()),
     (RandAugment(magnitude=1), RandAugment(magnitude=2, layers=3))],
)  # fmt: skip
def test_levels_are_different_alternatives_of_one_component(
    alternatives: tuple[Component, ...],
) -> None:
    with pytest.raises(ValueError, match="levels"):
        Levels(alternatives)
