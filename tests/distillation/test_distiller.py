"""The distiller: every loss by name and weight between the right stages, and no trace of it
afterwards.
"""

import pytest
import torch

from gliodistill.distillation import (
    Distiller,
    attention_transfer,
    barlow_twins,
    channel_wise,
    dist,
    region_affinity,
    soft_target,
)
from gliodistill.errors import RecipeError
from gliodistill.networks import build


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X = draw(2, 4, 8, 8, 8)
REGIONS = (
    draw(2, 1, 8, 8, 8, seed=1) > torch.tensor([-0.5, 0.2, 0.8]).view(1, 3, 1, 1, 1)
).float()  # nested


def network(widths, channels=4, outputs=3, seed=0):
    torch.manual_seed(seed)
    return build("unet", widths=widths, in_channels=channels, out_channels=outputs).train()


@pytest.fixture
def student():
    return network((4, 6, 8))


@pytest.fixture
def teacher():
    return network((6, 9, 8), seed=1).eval()


def owed(distiller, student, teacher, regions=REGIONS):
    with distiller.hooked():
        own = student(X)[0]
        with torch.no_grad():
            targets = teacher(X)[0]
        return distiller.terms(own, targets, regions)


def stages(network, names):
    """What the named stages put out, read by hand."""
    seen = {}
    handles = [
        network.taps[name].register_forward_hook(
            lambda _m, _i, out, name=name: seen.update({name: out})
        )
        for name in set(names)
    ]
    network(X)
    for handle in handles:
        handle.remove()
    return [seen[name] for name in names]


def hooks(*networks):
    return sum(len(module._forward_hooks) for network in networks for module in network.modules())


def own(network):
    return network(X)[0]


LOGITS = {
    "soft_target": (soft_target, {"temperature": 2.0}),
    "channel_wise": (channel_wise, {"temperature": 3.0}),
    "dist": (dist, {"beta": 0.5, "gamma": 2.0, "temperature": 1.5}),
}


@pytest.mark.parametrize("outputs", ["regions", "classes"])
@pytest.mark.parametrize("name", LOGITS)
def test_losses_of_logits_are_their_formulas(name, outputs):
    loss, options = LOGITS[name]
    student, teacher = (
        network(widths, outputs=3 if outputs == "regions" else 4) for widths in ((4, 6), (6, 8))
    )
    terms = owed(
        Distiller(student, teacher, outputs, {name: {"weight": 0.3, **options}}), student, teacher
    )
    expected = 0.3 * loss(own(student), own(teacher), outputs=outputs, **options)
    assert terms.keys() == {name}
    torch.testing.assert_close(terms[name], expected)


def test_standardised_logits_are_for_classes():
    student, teacher = (network(widths, outputs=4) for widths in ((4, 6), (6, 8)))
    terms = owed(
        Distiller(student, teacher, "classes", {"soft_target": {"standardise": True}}),
        student,
        teacher,
    )
    torch.testing.assert_close(
        terms["soft_target"],
        soft_target(own(student), own(teacher), outputs="classes", standardise=True),
    )
    with pytest.raises(RecipeError, match="outputs: classes") as caught:
        Distiller(student, teacher, "regions", {"soft_target": {"standardise": True}})
    assert caught.value.field == "options.losses.soft_target.standardise"


def test_losses_of_features_are_their_formulas(student, teacher):
    """Each between its own pairs of stages, of which two share one stage of the student."""
    pairs = {
        "attention_transfer": [
            ("decoder0", "encoder0"),
            ("decoder0", "decoder1"),
            ("encoder1", "encoder1"),
        ],
        "region_affinity": [("decoder0", "decoder0"), ("bottleneck", "encoder1")],
        "barlow_twins": [("bottleneck", "bottleneck")],
    }
    weights = {"attention_transfer": 0.5, "region_affinity": 2.0, "barlow_twins": 0.01}
    losses = {
        name: {"weight": weights[name], "taps": [list(pair) for pair in taps]}
        for name, taps in pairs.items()
    }
    losses["barlow_twins"] |= {"off_diagonal": 0.1, "stop_gradient": True}
    terms = owed(Distiller(student, teacher, "regions", losses), student, teacher)
    read = {
        name: (stages(student, [s for s, _ in taps]), stages(teacher, [t for _, t in taps]))
        for name, taps in pairs.items()
    }
    assert terms.keys() == pairs.keys()
    torch.testing.assert_close(
        terms["attention_transfer"], 0.5 * attention_transfer(*read["attention_transfer"])
    )
    torch.testing.assert_close(
        terms["region_affinity"], 2.0 * region_affinity(*read["region_affinity"], regions=REGIONS)
    )
    torch.testing.assert_close(
        terms["barlow_twins"], 0.01 * barlow_twins(*read["barlow_twins"], off_diagonal=0.1)
    )


def test_without_weight_and_stages_the_weight_is_one_and_the_stages_those_of_one_name():
    student, teacher = network((4, 6, 8)), network((6, 9))
    common = ["encoder0", "bottleneck", "decoder0"]  # the teacher has no encoder1 and no decoder1
    terms = owed(
        Distiller(student, teacher, "regions", {"attention_transfer": {}}), student, teacher
    )
    torch.testing.assert_close(
        terms["attention_transfer"],
        attention_transfer(stages(student, common), stages(teacher, common)),
    )


def test_region_affinity_gets_the_truth(student, teacher):
    distiller = Distiller(student, teacher, "regions", {"region_affinity": {}})
    assert owed(distiller, student, teacher)["region_affinity"] > 0
    assert (
        owed(distiller, student, teacher, torch.zeros_like(REGIONS))["region_affinity"] == 0
    )  # no pair of tissues


def test_the_student_learns_and_a_teacher_under_no_grad_does_not(student, teacher):
    losses = {
        "soft_target": {},
        "attention_transfer": {},
        "region_affinity": {},
        "barlow_twins": {"taps": [["bottleneck", "bottleneck"]]},
    }
    sum(owed(Distiller(student, teacher, "regions", losses), student, teacher).values()).backward()
    assert student.encoders[0][0][0].weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize(
    "losses", [{}, {"soft_target": {"weight": 0}, "attention_transfer": {"weight": 0.0}}]
)
def test_without_weights_there_is_nothing(student, teacher, losses):
    distiller = Distiller(student, teacher, "regions", losses)
    assert not distiller
    assert not distiller.reads_features
    with distiller.hooked():
        assert hooks(student, teacher) == 0
    assert distiller.terms(own(student), own(teacher), REGIONS) == {}


def test_a_loss_without_weight_is_left_out_of_the_others(student, teacher):
    distiller = Distiller(
        student, teacher, "regions", {"soft_target": {}, "attention_transfer": {"weight": 0}}
    )
    assert distiller
    assert not distiller.reads_features
    assert owed(distiller, student, teacher).keys() == {"soft_target"}


def test_no_hook_outlives_the_context(student, teacher):
    distiller = Distiller(student, teacher, "regions", {"attention_transfer": {}})
    assert distiller.reads_features
    assert hooks(student, teacher) == 0
    first = owed(distiller, student, teacher)
    assert hooks(student, teacher) == 0
    with pytest.raises(KeyboardInterrupt), distiller.hooked():
        assert hooks(student, teacher) == 2 * len(student.taps)
        raise KeyboardInterrupt
    assert hooks(student, teacher) == 0
    assert torch.equal(
        owed(distiller, student, teacher)["attention_transfer"], first["attention_transfer"]
    )
    with pytest.raises(
        RecipeError, match="was not reached"
    ):  # nothing of the last batch is left to be compared by mistake
        distiller.terms(own(student), own(teacher), REGIONS)


def test_two_teachers_of_one_student_do_not_disturb_each_other(student, teacher):
    other = network((5, 7, 8), seed=2).eval()
    losses = {
        "attention_transfer": {"taps": [["bottleneck", "bottleneck"], ["decoder0", "decoder0"]]}
    }
    distillers = [Distiller(student, each, "regions", losses) for each in (teacher, other)]
    alone = [
        owed(distiller, student, each)
        for distiller, each in zip(distillers, (teacher, other), strict=True)
    ]
    one, two = distillers
    with one.hooked(), two.hooked():
        heads = own(student)
        with torch.no_grad():
            targets = [own(teacher), own(other)]
        together = [one.terms(heads, targets[0], REGIONS), two.terms(heads, targets[1], REGIONS)]
    assert [t["attention_transfer"] for t in together] == [t["attention_transfer"] for t in alone]
    assert together[0] != together[1]
    assert hooks(student, teacher, other) == 0


AT = "options.losses.attention_transfer"


@pytest.mark.parametrize(
    ("losses", "field", "words"),
    [
        ({"soft_targets": {}}, "options.losses", "did you mean soft_target?"),
        (
            {"magic": {}},
            "options.losses",
            "attention_transfer, barlow_twins, channel_wise, dist, region_affinity, soft_target",
        ),
        (
            {"soft_target": {"temprature": 2}},
            "options.losses.soft_target.temprature",
            "did you mean temperature?",
        ),
        (
            {"soft_target": {"outputs": "classes"}},
            "options.losses.soft_target.outputs",
            "unknown option",
        ),
        (
            {"soft_target": {"taps": [["bottleneck", "bottleneck"]]}},
            "options.losses.soft_target.taps",
            "unknown option",
        ),
        (
            {"region_affinity": {"regions": 1}},
            "options.losses.region_affinity.regions",
            "unknown option",
        ),
        ({"soft_target": {"weight": -0.1}}, "options.losses.soft_target.weight", "0 or more"),
        ({"soft_target": {"weight": float("inf")}}, "options.losses.soft_target.weight", "finite"),
        ({"soft_target": {"weight": "much"}}, "options.losses.soft_target.weight", "number"),
        ({"soft_target": {"temperature": 0}}, "options.losses.soft_target.temperature", "above 0"),
        (
            {"channel_wise": {"temperature": -1}},
            "options.losses.channel_wise.temperature",
            "above 0",
        ),
        ({"dist": {"temperature": float("nan")}}, "options.losses.dist.temperature", "finite"),
        (
            {"soft_target": {"standardise": "perhaps"}},
            "options.losses.soft_target.standardise",
            "boolean",
        ),
        (
            {"barlow_twins": {"stop_gradient": [1]}},
            "options.losses.barlow_twins.stop_gradient",
            "boolean",
        ),
        ({"attention_transfer": {"taps": []}}, f"{AT}.taps", "encoder0"),
        ({"attention_transfer": {"taps": [["bottleneck"]]}}, f"{AT}.taps", "Field required"),
        (
            {"attention_transfer": {"taps": [["botleneck", "bottleneck"]]}},
            "options.losses.attention_transfer.taps",
            "did you mean bottleneck?",
        ),
        (
            {"attention_transfer": {"taps": [["bottleneck", "encoder7"]]}},
            "options.losses.attention_transfer.taps",
            "encoder0, encoder1, bottleneck",
        ),
        (
            {"attention_transfer": {"weight": 0, "taps": [["bottleneck", "encoder7"]]}},
            f"{AT}.taps",
            "encoder7",
        ),
    ],
)
def test_mistakes_are_named(student, teacher, losses, field, words):
    with pytest.raises(RecipeError) as caught:
        Distiller(student, teacher, "regions", losses)
    assert caught.value.field == field
    assert words in str(caught.value)


def test_unequal_widths_are_told_from_shapes_where_it_matters():
    with torch.device("meta"):
        student, teacher = (network((4, width)) for width in (6, 8))
        image = torch.empty(1, 4, 64, 64, 64)
        for name in ("attention_transfer", "region_affinity"):
            Distiller(student, teacher, "regions", {name: {}}).check(image, image)
        latent = {"taps": [["bottleneck", "bottleneck"]]}
        with pytest.raises(RecipeError, match="6 and 8 channels"):
            Distiller(student, teacher, "regions", {"barlow_twins": latent}).check(image, image)
        Distiller(
            student, teacher, "regions", {"barlow_twins": {"taps": [["encoder0", "decoder0"]]}}
        ).check(image, image)
    assert hooks(student, teacher) == 0
