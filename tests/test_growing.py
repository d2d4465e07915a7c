"""Parameter counts and names of the growing networks."""

import pytest

from jaxgrow.nets.growing import (
    Discriminator,
    Generator,
    NetConfig,
    resolutions_up_to,
    variable_shapes,
)
from jaxgrow.partition import count_params


GENERATOR_PARAMETERS = {4: 66_447, 8: 132_057, 16: 197_667, 32: 263_277, 64: 328_887}


def shapes(net, channels, fading=False):
    return variable_shapes(net, channels, fading=fading)


@pytest.mark.parametrize(("resolution", "total"), GENERATOR_PARAMETERS.items())
def test_the_generator_has_the_papers_number_of_parameters(resolution, total):
    params = shapes(Generator(NetConfig(), resolution), 4)["params"]
    assert count_params(params) == total
    parts = {name: count_params(p) for name, p in params.items()}
    expected = {f"r{resolution}_from_rgb": 108, f"r{resolution}_to_rgb": 729}
    for r in resolutions_up_to(resolution):
        expected |= {f"r{r}_down": 32_805, f"r{r}_up": 32_805}
    assert parts == expected
    sub_block = params["r4_down"]["sub0"]
    assert count_params(sub_block) == 8_505
    assert count_params(params["r4_down"]["in"]) == 729
    assert count_params(params["r4_up"]["up"]) == 6_561


@pytest.mark.parametrize("skip", ["none", "add"])
def test_a_skip_costs_no_parameter(skip):
    params = shapes(Generator(NetConfig(skip=skip), 64), 4)["params"]
    assert count_params(params) == 328_887


@pytest.mark.parametrize("channels", [3, 4])
def test_the_discriminator_is_down_blocks_and_a_dense_head(channels):
    params = shapes(Discriminator(NetConfig(), 16), channels)["params"]
    parts = {name: count_params(p) for name, p in params.items()}
    assert parts == {
        "r16_from_rgb": 27 * channels,
        "r16_down": 32_805,
        "r8_down": 32_805,
        "r4_down": 32_805,
        "r16_head": 108 * 108 + 108,
    }


def test_fading_adds_the_heads_of_the_stage_before_and_nothing_else():
    plain = shapes(Generator(NetConfig(), 16), 4)["params"]
    fading = shapes(Generator(NetConfig(), 16), 4, fading=True)["params"]
    assert set(fading) - set(plain) == {"r8_from_rgb", "r8_to_rgb"}


@pytest.mark.parametrize("resolution", [0, 2, 6, 48])
def test_a_resolution_off_the_ladder_is_refused(resolution):
    with pytest.raises(ValueError, match=str(resolution)):
        resolutions_up_to(resolution)
