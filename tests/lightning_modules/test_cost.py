"""Parameters and multiply-adds: those of the paper, and those that the library states."""

import dataclasses

import pytest
import torch

import recipes
from lightning_modules.cost import count, is_out_of_memory
from recipes.library import about, names

# ResNet-RS Table 7: depth, pixels, millions of parameters, "FLOPs" (twice the multiply-adds) in G.
TABLE_7 = [
    (50, 160, 36, 4.6),
    (101, 160, 64, 8.4),
    (101, 192, 64, 12),
    (152, 192, 87, 17.49),  # the table prints 18, the one misprint: facts.md section 5
    (152, 224, 87, 24),
    (152, 256, 87, 31),
    (200, 256, 93, 40),
    (270, 256, 130, 54),
    (350, 256, 164, 69),
    (350, 320, 164, 107),
    (420, 320, 192, 128),
]


@pytest.mark.parametrize(("depth", "resolution", "millions", "flops"), TABLE_7)
def test_the_code_s_network_has_the_costs_of_table_7(depth, resolution, millions, flops):
    recipe = recipes.load(f"resnet_rs_{depth}_{resolution}")
    params, macs = count(recipe.model, 1000, recipe.data.resolution)
    assert round(params / 1e6) == millions
    assert 2 * macs / 1e9 == pytest.approx(flops, rel=0.01)


# facts.md section 5, FLOPs check: 32/32/64, stride moved, as the paper's text has it.
@pytest.mark.parametrize(
    ("depth", "resolution", "flops"),
    [
        (50, 160, 4.48),
        (101, 160, 8.28),
        (152, 192, 17.38),
        (152, 256, 30.85),
        (350, 256, 68.55),
        (420, 320, 127.57),
    ],
)
def test_the_text_s_network_costs_a_little_less(depth, resolution, flops):
    own = recipes.load(f"resnet_rs_{depth}_{resolution}").model
    model = dataclasses.replace(own, resnet_d_parts="stem+stride+shortcut")
    assert 2 * count(model, 1000, resolution)[1] / 1e9 == pytest.approx(flops, rel=0.005)


@pytest.mark.parametrize("name", names())
def test_a_library_recipe_states_what_it_costs(name):
    recipe, said = recipes.load(name), about(name)
    classes = 10 if name == "tiny" else 1000
    found = count(recipe.model, classes, recipe.data.resolution)
    assert (said["parameters"], said["macs"]) == found


def test_want_of_memory_is_known_by_what_torch_really_raises():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("boom"))
    assert not is_out_of_memory(ValueError("not enough memory"))
