"""What are_modules_specialized.py makes of numbers whose answer is known."""

import pytest

import are_modules_specialized
from are_modules_specialized import MEASURES, adjusted, pooled_summary
from mlp.model import initial_model, save_checkpoint


def parts(network, seed, p):
    """A row for each of two parts of a network, whose p-values are all the same."""
    numbers = {f"{measure}_{key}": p for measure in MEASURES for key in ("p", "p_conservative")}
    numbers |= {f"{measure}_effect": 1.0 for measure in MEASURES}
    about = {"condition": "pruned", "partitioning": "weights", "kind": "clusters", "network": network, "seed": seed}
    return [about | numbers | {"status": "tested", "random_n": 19}] * 2


def test_networks_of_one_seed_are_combined_as_one():
    one, other = pooled_summary(parts(0, 5, 0.1)), pooled_summary([*parts(0, 5, 0.1), *parts(1, 5, 0.1)])
    assert (other["networks"], other["seeds"]) == (2, 1)
    assert other["accuracy_combined_p"] == pytest.approx(one["accuracy_combined_p"])
    assert other["accuracy_combined_p"] == pytest.approx(one["accuracy_p"][0])
    independent = pooled_summary([*parts(0, 5, 0.1), *parts(1, 6, 0.1)])
    assert (independent["networks"], independent["seeds"]) == (2, 2)
    assert independent["accuracy_combined_p"] == pytest.approx(2 * one["accuracy_p"][0] ** 2)


@pytest.mark.parametrize("networks", [4, 11, 30])
def test_networks_without_any_effect_can_be_corrected(networks):
    line = pooled_summary([row for k in range(networks) for row in parts(k, k, 1.0)])
    assert adjusted([line])[0]["accuracy_adjusted_p"] == pytest.approx(1)


def test_what_was_measured_is_saved_before_it_is_judged(tmp_path, monkeypatch):
    def failing(_):
        raise RuntimeError("a judgement that fails")

    monkeypatch.setattr(are_modules_specialized, "adjusted", failing)
    save_checkpoint(tmp_path / "network.pt", initial_model((784, 6, 2), 0), digits=(8, 1))
    with pytest.raises(RuntimeError, match="fails"):
        are_modules_specialized.main(
            [str(tmp_path / "network.pt"), "--clusters", "2", "--draws", "2", "--figures-dir", str(tmp_path)]
        )
    assert (tmp_path / "specialization.csv").read_text().count("\n") > 4
