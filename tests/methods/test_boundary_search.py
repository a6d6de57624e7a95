"""The boundary search: what its noise does on average, where its points stay, and where it ends."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, softplus

from mu_monai.methods.boundary_search import NOISES, BoundarySearch, Standing, intensity_range

LOW, HIGH = torch.tensor(0.0), torch.tensor(1.0)
NEVER = {"confidence": 0.0, "bisections": 0, "closeness": 0.0}  # no case stops before its last step


def of_loss(loss, flipped=None):
    """A judge of a loss alone; the answer is another one nowhere, unless it is said where."""

    def judge(image):
        nowhere = torch.zeros(len(image), dtype=torch.bool)
        return Standing(loss(image), torch.zeros(len(image)), nowhere if flipped is None else flipped(image))

    return judge


def linear(direction, threshold=math.inf):
    """The loss `direction * image`, and another answer beyond the threshold."""

    def judge(image):
        loss = (image * direction).flatten(1).sum(1)
        return Standing(loss, torch.sigmoid(threshold - loss.detach()), loss.detach() > threshold)

    return judge


class TestNoise:
    gradient = torch.tensor([2.0, -1.0, 0.5, 0.1, 0.0])
    draws = 20_000

    def ascent(self, **given):
        """<g, sign(g + noise)> of many draws, by one step of a linear loss."""
        image = torch.full((self.draws, 5), 0.5)
        search = BoundarySearch(**{**NEVER, "steps": 1, "step_size": 0.01, "noise_scale": "absolute", **given})
        found = search(linear(self.gradient), image, LOW, HIGH)
        return found.offset / search.step_size @ self.gradient

    @pytest.mark.parametrize("noise", [0.1, 0.5, 1.0, 5.0])
    def test_normal_noise_ascends_by_the_error_function_on_average(self, noise):
        torch.manual_seed(0)
        values = self.ascent(noise=noise)
        size = self.gradient.abs()
        expected = float((size * torch.erf(size / (math.sqrt(2) * noise))).sum())
        error = float(values.std()) / math.sqrt(self.draws)
        assert float(values.mean()) == pytest.approx(expected, abs=4 * error + 1e-4)
        assert 0 < expected <= float(size.sum())

    def test_without_noise_it_is_sign_ascent(self):
        torch.manual_seed(0)
        whole = float(self.gradient.abs().sum())
        assert self.ascent(noise=0.0).tolist() == pytest.approx([whole] * self.draws, abs=1e-4)
        small = self.ascent(noise=1e-4).mean()
        assert float(small) == pytest.approx(whole, abs=1e-3)

    def test_much_noise_is_plain_gradient_ascent(self):
        torch.manual_seed(0)
        noise = 20.0
        expected = math.sqrt(2 / math.pi) * float(self.gradient.square().sum()) / noise
        values = self.ascent(noise=noise)
        assert float(values.mean()) == pytest.approx(expected, abs=4 * float(values.std()) / math.sqrt(self.draws))

    @pytest.mark.parametrize("name", NOISES)
    def test_any_symmetric_noise_ascends_on_average(self, name):
        torch.manual_seed(0)
        values = self.ascent(noise=1.0, noise_distribution=name)
        assert float(values.mean()) > 10 * float(values.std()) / math.sqrt(self.draws)

    @pytest.mark.parametrize(
        ("name", "distribution"),
        [
            ("normal", torch.distributions.Normal(0.0, 1.0)),
            ("laplace", torch.distributions.Laplace(0.0, 1.0)),
            ("cauchy", torch.distributions.Cauchy(0.0, 1.0)),
            ("uniform", torch.distributions.Uniform(-1.0, 1.0)),
        ],
    )
    def test_the_distributions_are_those_of_their_names(self, name, distribution):
        torch.manual_seed(0)
        draws = NOISES[name](torch.empty(40_000))
        for share in (0.05, 0.25, 0.5, 0.75, 0.95):
            below = float((draws < distribution.icdf(torch.tensor(share))).double().mean())
            assert below == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 40_000))

    @given(power=st.integers(-20, 20), seed=st.integers(0, 99))
    @settings(max_examples=20, deadline=None)
    def test_relative_noise_does_not_mind_the_scale_of_the_loss(self, power, seed):
        image = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
        search = BoundarySearch(**NEVER, steps=3, noise=1.0, noise_scale="relative")

        def found(scale):
            torch.manual_seed(seed)
            return search(of_loss(lambda x: scale * x.sin().flatten(1).sum(1)), image, LOW, HIGH).offset

        assert torch.equal(found(1.0), found(2.0**power))

    def test_absolute_noise_minds_it(self):
        image = torch.full((1, 1, 8, 8), 0.5)
        search = BoundarySearch(**NEVER, steps=1, noise=1.0, noise_scale="absolute")

        def found(scale):
            torch.manual_seed(0)
            return search(linear(torch.full((1, 8, 8), scale)), image, LOW, HIGH).offset

        assert not torch.equal(found(0.01), found(100.0))


class TestAscent:
    """E l(x + eps s) >= l(x) + eps sum |g| erf(|g| / (sqrt 2 gamma)) - M eps^2 d / 2, for an M-smooth loss."""

    draws = 20_000

    def climb(self, loss, image, noise, size):
        search = BoundarySearch(**NEVER, steps=1, step_size=size, radius=size, noise=noise, noise_scale="absolute")
        found = search(of_loss(loss), image.expand(self.draws, -1), LOW, HIGH)
        gained = (found.losses[1] - found.losses[0]).double()
        return float(gained.mean()), float(gained.std()) / math.sqrt(self.draws)

    @staticmethod
    def bound(gradient, noise, size, smoothness):
        size_of = gradient.abs()
        ascent = (size_of * torch.erf(size_of / (math.sqrt(2) * noise))).sum()
        return float(size * ascent - smoothness / 2 * size**2 * len(gradient))

    @pytest.mark.parametrize("noise", [0.05, 0.5, 3.0])
    def test_a_quadratic_meets_the_bound_exactly(self, noise):
        torch.manual_seed(0)
        slope, image, smoothness, size = torch.linspace(-1, 2, 6), torch.full((6,), 0.5), 0.7, 0.2
        gained, error = self.climb(lambda x: x @ slope - smoothness / 2 * x.square().sum(1), image, noise, size)
        assert gained == pytest.approx(self.bound(slope - smoothness * image, noise, size, smoothness), abs=4 * error)

    @pytest.mark.parametrize("noise", [0.05, 0.5, 3.0])
    @pytest.mark.parametrize("size", [0.01, 0.1, 0.4])
    def test_a_logistic_loss_stays_above_it(self, noise, size):
        torch.manual_seed(0)
        weights, image = torch.tensor([1.5, -2.0, 0.3, 0.0]), torch.full((4,), 0.5)
        gained, error = self.climb(lambda x: softplus(x @ weights), image, noise, size)
        gradient = torch.sigmoid(image @ weights) * weights
        bound = self.bound(gradient, noise, size, float(weights.square().sum()) / 4)
        assert gained >= bound - 4 * error


@st.composite
def searches(draw):
    return BoundarySearch(
        steps=draw(st.integers(1, 5)),
        step_size=draw(st.floats(0.001, 2)),
        schedule=draw(st.sampled_from(["constant", "sqrt"])),
        radius=draw(st.floats(0.001, 2)),
        closeness=draw(st.floats(0, 5)),
        noise=draw(st.floats(0, 5)),
        noise_distribution=draw(st.sampled_from(list(NOISES))),
        noise_scale=draw(st.sampled_from(["relative", "absolute"])),
        confidence=draw(st.sampled_from([0.0, 0.5, 1.0])),
        bisections=draw(st.integers(0, 4)),
        variant=draw(st.sampled_from(["clean", "released"])),
    )


@given(
    search=searches(),
    seed=st.integers(0, 99),
    low=st.floats(-1000, 1000),
    span=st.floats(0.01, 5000),
    beyond=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_points_stay_in_the_ball_and_in_the_range(search, seed, low, span, beyond):
    torch.manual_seed(seed)
    ends = (
        torch.tensor([low, low - 1, low]).view(3, 1, 1),
        torch.tensor([low + span, low + 2 * span, low]).view(3, 1, 1),
    )
    share = torch.rand(4, 3, 3, 3).mul(1.4 if beyond else 1).sub(0.2 if beyond else 0).round(decimals=1)
    image = ends[0] + share * (ends[1] - ends[0])  # many pixels lie at the ends; the third channel is constant
    found = search(linear(torch.randn(3, 3, 3) / span, threshold=float(torch.randn(()))), image, *ends)
    room = (ends[1] - ends[0]) * 1e-5 + image.abs().max() * 1e-6
    assert found.offset.abs().max() <= search.radius * (1 + 1e-5)
    assert ((found.image - image).abs() <= search.radius * (ends[1] - ends[0]) + room).all()
    assert (found.image >= torch.minimum(image, ends[0])).all()
    assert (found.image <= torch.maximum(image, ends[1])).all()
    assert torch.equal(found.image[:, 2], image[:, 2]), "a constant channel cannot move"
    assert (found.steps <= search.steps).all()
    assert torch.isfinite(found.image).all()


class TestCrossing:
    image = torch.full((3, 1, 2, 2), 0.5)
    thresholds = torch.tensor([2.1, 2.33, 9.0])  # of the sum of four pixels, which is 2; the last is out of reach

    def judge(self, image):
        total = image.flatten(1).sum(1)
        return Standing(total, torch.full((3,), 0.5), total.detach() > self.thresholds)

    def search(self, bisections=0, **given):
        search = BoundarySearch(noise=0, closeness=0, steps=5, step_size=0.06, bisections=bisections, **given)
        return search(self.judge, self.image, LOW, HIGH)

    def test_each_case_stops_where_it_crosses(self):
        found = self.search()
        assert found.steps.tolist() == [1, 2, 5]
        assert found.flipped.tolist() == [True, True, False]
        assert found.distance.tolist() == pytest.approx([0.06, 0.1, 0.1], abs=1e-6)
        assert found.losses[:, 0].tolist() == pytest.approx([2.0, *[2.24] * 5], abs=1e-5)
        assert len(found.losses) == 6

    def test_where_all_have_crossed_the_losses_go_on_to_the_last_step(self):
        found = BoundarySearch(noise=0, steps=5, step_size=0.06)(
            lambda image: self.judge(image)._replace(flipped=torch.ones(3, dtype=torch.bool)), self.image, LOW, HIGH
        )
        assert found.steps.tolist() == [0, 0, 0]
        assert torch.equal(found.image, self.image)
        assert found.losses.tolist() == [[2.0] * 3] * 6

    def test_a_case_stops_only_below_the_confidence(self):
        assert self.search(confidence=0.49).steps.tolist() == [5, 5, 5]

    def test_a_confidence_of_0_stops_no_case_not_even_a_surely_wrong_one(self):
        def judge(image):
            return self.judge(image)._replace(confidence=torch.zeros(3))

        search = BoundarySearch(noise=0, closeness=0, steps=5, step_size=0.06, bisections=0, confidence=0)
        found = search(judge, self.image, LOW, HIGH)
        assert found.steps.tolist() == [5, 5, 5]
        assert found.flipped.tolist() == [True, True, False]

    @pytest.mark.parametrize("bisections", [1, 4, 8])
    def test_bisection_ends_where_the_answer_has_just_changed(self, bisections):
        far, near = self.search(), self.search(bisections)
        assert near.flipped.tolist() == [True, True, False]
        assert torch.equal(near.offset[2], far.offset[2]), "what did not cross stays where it ended"
        assert (near.distance <= far.distance).all()
        assert near.distance[0] < far.distance[0]
        before = near.offset - far.offset / 2**bisections
        assert self.judge(near.image).flipped.tolist() == [True, True, False]
        assert self.judge(self.image + before).flipped.tolist() == [False, False, False]

    def test_more_halvings_are_never_farther(self):
        distances = torch.stack([self.search(count).distance for count in range(9)])
        assert (distances[1:] <= distances[:-1]).all()
        assert distances[-1, 0] == pytest.approx(0.1 / 4, abs=0.06 / 2**8)


def test_the_steps_of_the_schedule_shrink_with_the_root():
    image = torch.full((1, 1, 1, 1), 0.5)
    for schedule, expected in (("constant", [0.01] * 4), ("sqrt", [0.01 / math.sqrt(t) for t in (1, 2, 3, 4)])):
        search = BoundarySearch(**NEVER, steps=4, step_size=0.01, schedule=schedule, noise=0)
        losses = search(linear(torch.ones(1, 1, 1)), image, LOW, HIGH).losses[:, 0]
        assert losses.diff().tolist() == pytest.approx(expected, abs=1e-6)


def test_closeness_keeps_a_point_near():
    """Where the slope is smaller than the pull, the step goes back: a loss of slope 0.5, a closeness of 10, by hand."""
    search = BoundarySearch(steps=2, step_size=0.1, radius=1, closeness=10, noise=0, confidence=0, bisections=0)
    found = search(linear(torch.full((1, 1, 1), 0.5)), torch.full((1, 1, 1, 1), 0.5), LOW, HIGH)
    assert found.losses[:, 0].tolist() == pytest.approx([0.25, 0.3, 0.25])


def test_each_image_is_searched_by_itself():
    torch.manual_seed(0)
    image, direction = torch.rand(4, 1, 3, 3), torch.randn(1, 3, 3)
    search = BoundarySearch(noise=0)
    together = search(linear(direction, 0.5), image, LOW, HIGH)
    for index in range(4):
        alone = search(linear(direction, 0.5), image[index : index + 1], LOW, HIGH)
        assert torch.allclose(alone.image[0], together.image[index], atol=1e-6)


def test_the_search_is_in_shares_of_the_range_whatever_the_normalization():
    """The same image in [0, 1], in [-1, 1] and in Hounsfield units gives the same points."""
    torch.manual_seed(0)
    image, direction = torch.rand(2, 1, 4, 4), torch.randn(1, 4, 4)
    search = BoundarySearch(noise=0.5, closeness=0.1)
    offsets = []
    for low, span in ((0.0, 1.0), (-1.0, 2.0), (-1024.0, 4096.0)):

        def judge(x, low=low, span=span):
            return linear(direction, 0.8)((x - low) / span)

        torch.manual_seed(1)
        ends = torch.tensor(low), torch.tensor(low + span)
        offsets.append(search(judge, low + span * image, *ends).offset)
    for other in offsets[1:]:
        assert torch.allclose(other, offsets[0], atol=1e-3)


class TestReleased:
    """x + eps sign(grad of the batch's mean cross-entropy + lambda (x_normalized - x_pixel) + gamma z), then [0, 1]."""

    weights = torch.tensor([[1.0, -2.0, 0.5, 0.0], [-1.0, 1.0, 0.25, 0.5]])
    image = torch.tensor([[0.2, -0.9, 1.0, -0.2], [0.6, 0.0, -0.4, 0.98]])  # normalized to [-1, 1]
    label = torch.tensor([0, 1])

    def judge(self, image):
        logits = image @ self.weights.T
        losses = cross_entropy(logits, self.label, reduction="none")
        return Standing(losses, logits.softmax(1).gather(1, self.label[:, None])[:, 0], logits.argmax(1) != self.label)

    def expected(self, closeness, noise):
        p = (self.image @ self.weights.T).softmax(1)
        gradient = (p - torch.eye(2)[self.label]) @ self.weights / 2  # of the mean of two cases
        pixel = (self.image + 1) / 2
        torch.manual_seed(0)
        z = torch.empty(2, 4).normal_()
        moved = pixel + 0.1 * torch.sign(gradient + closeness * (self.image - pixel) + noise * z)
        return 2 * moved.clamp(0, 1) - 1

    @pytest.mark.parametrize(
        ("closeness", "noise"), [(0.0, 0.0), (1e-3, 1e-2), (0.1, 0.0), (0.2, 0.0), (5.0, 0.0), (0.1, 0.5)]
    )
    def test_it_is_the_released_formula(self, closeness, noise):
        torch.manual_seed(0)
        search = BoundarySearch(variant="released", closeness=closeness, noise=noise, steps=7, step_size=0.5)
        found = search(self.judge, self.image, -HIGH, HIGH)
        assert torch.allclose(found.image, self.expected(closeness, noise), atol=1e-6)
        assert found.steps.tolist() == [1, 1]
        assert found.losses.shape == (2, 2)

    def test_its_closeness_term_acts_at_distance_zero_and_ours_does_not(self):
        settings = {"noise": 0.0, "steps": 1, "step_size": 0.1, "confidence": 0.0, "bisections": 0}
        found = {
            (variant, closeness): BoundarySearch(variant=variant, closeness=closeness, **settings)(
                self.judge, self.image, -HIGH, HIGH
            ).image
            for variant in ("clean", "released")
            for closeness in (0.0, 0.5)
        }
        assert torch.equal(found["clean", 0.0], found["clean", 0.5])
        assert not torch.equal(found["released", 0.0], found["released", 0.5])
        assert torch.allclose(found["clean", 0.0], found["released", 0.0], atol=1e-6)

    def test_an_image_without_a_gradient_stays(self):
        search = BoundarySearch(variant="released", closeness=0, noise=0)
        found = search(of_loss(lambda x: 0 * x.sum(1)), self.image, -HIGH, HIGH)
        assert torch.equal(found.image, self.image)


def test_the_range_is_that_of_every_channel_over_all_batches():
    batches = [{"image": torch.tensor([[[[0.0]], [[5.0]]]])}, {"image": torch.tensor([[[[-2.0]], [[7.0]]]])}]
    low, high = intensity_range(batches)
    assert low.flatten().tolist() == [-2, 5]
    assert high.flatten().tolist() == [0, 7]
    assert low.shape == (2, 1, 1)
