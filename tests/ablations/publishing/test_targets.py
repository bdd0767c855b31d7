import pytest

from ablations.errors import RequestError
from ablations.publishing import targets
from ablations.publishing.targets import targets_of, trackers_of


def test_trackers_are_named_once_in_the_order_given() -> None:
    assert trackers_of("wandb") == ("wandb",)
    assert trackers_of("csv, wandb,csv") == ("csv", "wandb")
    assert trackers_of("none") == ()


@pytest.mark.parametrize("text", ["", "mlflow", "none,wandb", "wandb,", "WANDB"])
def test_what_is_no_tracker_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(RequestError, match="choose from wandb, tensorboard, csv, none"):
        trackers_of(text)


def test_a_tracker_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets.importlib.util, "find_spec", lambda _: None)
    assert trackers_of("tensorboard") == ("tensorboard",)  # a known word
    with pytest.raises(RequestError, match=r"pip install 'ablate-recipes\[tensorboard\]'"):
        targets_of("wandb,tensorboard", None, None)


@pytest.mark.parametrize("variable", ["WANDB_MODE=disabled", "WANDB_DISABLED=true"])
def test_the_client_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(*variable.split("="))
    assert [one.tracker for one in targets_of("wandb,csv", None, None)] == ["csv"]


def test_other_projects_and_servers_are_other_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    places = [(None, None), ("mine", None), ("mine", "team")]
    keys = {targets_of("wandb", *place)[0].key for place in places}
    keys |= {targets_of("csv", None, None)[0].key}
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1/")
    keys |= {targets_of("wandb", "mine", "team")[0].key}
    assert len(keys) == 5
    assert targets_of("wandb", None, None)[0].place == targets_of("wandb", "ablate", None)[0].place


def test_a_mode_that_the_client_does_not_know_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "onlin")
    with pytest.raises(RequestError, match="WANDB_MODE='onlin': choose online, offline, disabled"):
        targets_of("wandb", None, None)
    assert targets_of("csv", None, None)  # which asks no client
