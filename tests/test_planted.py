import math

import pytest
import torch

from modularity.planted import own_share


def test_the_share_of_what_is_lost_that_a_groups_own_classes_lose():
    intact, images = torch.tensor([90, 180, 40, 100]), [100, 200, 50, 100]
    own = torch.tensor([True, True, False, False])
    assert own_share(intact, torch.tensor([0, 0, 40, 100]), images, own) == 1
    assert own_share(intact, torch.tensor([90, 180, 0, 0]), images, own) == 0
    # lost of each class: .4, .2, .2, 0
    assert own_share(intact, torch.tensor([50, 140, 30, 100]), images, own) == pytest.approx(0.75)
    # one of the others gains
    assert own_share(intact, torch.tensor([50, 140, 50, 100]), images, own) == 1
    assert math.isnan(own_share(intact, intact, images, own))
