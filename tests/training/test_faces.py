"""Official names and keyword arguments of the networks, and where their defaults stand."""

from __future__ import annotations

import ast
import inspect
from collections import defaultdict
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from tf_ops import layout
from training import networks, networks_stylegan, networks_stylegan2
from training.architecture.faces import OfficialModule
from training.architecture.specs import AdaDiscriminatorSpec, SynthesisSpec

TRAINING = Path(__file__).resolve().parents[2] / "training"
MODULES = (networks_stylegan2, networks, networks_stylegan)

# Interface facts of the official repositories and of this project: inputs, defaults, **kwargs.
# Where a keyword stands twice, the second default holds.
IMAGES = """
    num_channels=3 resolution=1024 base_size=(4,4) dtype='float32' fmap_base=16384 fmap_decay=1.0
    fmap_max=512 nonlinearity='lrelu'"""
STYLEGAN2 = f"{IMAGES} fmap_min=1 resample_kernel=(1,3,3,1)"
STYLEGAN = f"""
    {IMAGES} fmap_base=8192 use_wscale=True fused_scale='auto' blur_filter=(1,2,1)
    structure='auto' is_template_graph=False"""
SYNTHESIS = "dlatents_in dlatent_size=512 randomize_noise=True random_seed=None **_kwargs"
SCORES = """
    images_in labels_in label_size=0 mbstd_group_size=4 mbstd_num_features=1 is_training=False
    is_template_graph=False"""
GENERATOR = """
    latents_in labels_in truncation_psi=0.5 truncation_cutoff=None truncation_psi_val=None
    truncation_cutoff_val=None dlatent_avg_beta=0.995 style_mixing_prob=0.9 is_training=False
    is_validation=False return_dlatents=False is_template_graph=False components=None
    random_seed=None **kwargs"""
MAPPING = """
    latents_in labels_in latent_size=512 label_size=0 dlatent_size=512 dlatent_broadcast=None
    mapping_layers=8 mapping_fmaps=512 mapping_lrmul=0.01 mapping_nonlinearity='lrelu'
    normalize_latents=True dtype='float32' **_kwargs"""
SIGNATURES = {
    "networks_stylegan2.G_main": f"""
        {GENERATOR} mapping_func='G_mapping' synthesis_func='G_synthesis_stylegan2'""",
    "networks_stylegan2.G_mapping": MAPPING,
    "networks_stylegan2.G_synthesis_stylegan2": f"""
        {SYNTHESIS} {STYLEGAN2} architecture='skip' fused_modconv=True""",
    "networks_stylegan2.G_synthesis_stylegan_revised": f"""
        {SYNTHESIS} {STYLEGAN2} fused_modconv=True structure='auto' is_template_graph=False
        force_clean_graph=False""",
    "networks_stylegan2.D_stylegan2": f"{SCORES} {STYLEGAN2} architecture='resnet'",
    "networks_stylegan2.D_stylegan": f"{SCORES} {STYLEGAN2} structure='auto'",
    "networks.G_main": f"{GENERATOR} mapping_func='G_mapping' synthesis_func='G_synthesis'",
    "networks.G_mapping": f"{MAPPING} mapping_fmaps=None label_fmaps=None",
    "networks.G_synthesis": f"""
        {SYNTHESIS} {STYLEGAN2} architecture='skip' fused_modconv=False fmap_const=None
        use_noise=True num_fp16_res=0 conv_clamp=None""",
    "networks.D_main": f"""
        {SCORES} {STYLEGAN2} architecture='resnet' num_fp16_res=0 conv_clamp=None mapping_layers=0
        mapping_fmaps=None mapping_lrmul=0.1 mbstd_group_size=None augment_strength=0
        use_pagan=False pagan_num=16 pagan_fade=0.5 score_size=1 score_max=1
        use_spectral_norm=False adaptive_dropout=0 freeze_layers=0 random_seed=None""",
    "networks_stylegan.G_style": f"{GENERATOR} truncation_psi=0.7 truncation_cutoff=8",
    "networks_stylegan.G_mapping": f"{MAPPING} use_wscale=True",
    "networks_stylegan.G_synthesis": f"""
        {SYNTHESIS} {STYLEGAN} use_styles=True const_input_layer=True use_noise=True
        use_pixel_norm=False use_instance_norm=True force_clean_graph=False""",
    "networks_stylegan.D_basic": f"{SCORES} {STYLEGAN} num_channels=1 resolution=32",
}


def read_signature(text: str) -> tuple[list[str], dict[str, str], list[str]]:
    """(inputs, {keyword: default as text}, names of **kwargs)"""
    words = text.split()
    keywords = dict(word.split("=") for word in words if "=" in word)
    others = [word[2:] for word in words if word.startswith("**")]
    inputs = [word for word in words if "=" not in word and not word.startswith("**")]
    return inputs, {k: repr(ast.literal_eval(v)) for k, v in keywords.items()}, others


FUNCTIONS = {
    f"{module.__name__.removeprefix('training.')}.{name}": function
    for module in MODULES
    for name, function in module.BUILD_FUNCTIONS.items()
}


def test_the_tables_have_the_official_names():
    assert set(FUNCTIONS) == set(SIGNATURES)
    for module in MODULES:
        for name, function in module.BUILD_FUNCTIONS.items():
            assert getattr(module, name) is function
            assert (function.__module__, function.__name__) == (module.__name__, name)


@pytest.mark.parametrize("name", SIGNATURES)
def test_official_signatures(name):
    inputs, keywords, others = read_signature(SIGNATURES[name])
    parameters = list(inspect.signature(FUNCTIONS[name]).parameters.values())
    if others:
        last = parameters.pop()
        assert ([last.name], last.kind) == (others, last.VAR_KEYWORD)
    assert {p.kind for p in parameters} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    assert [p.name for p in parameters[: len(inputs)]] == inputs
    assert all(p.default is p.empty for p in parameters[: len(inputs)])
    found = {p.name: repr(p.default) for p in parameters[len(inputs) :]}
    assert found == keywords  # As text: 0 is not 0.0 or False.


@pytest.mark.parametrize("name", SIGNATURES)
def test_annotations_and_help(name):
    """What `Network` reads of them, and what users do."""
    function, (inputs, keywords, _) = FUNCTIONS[name], read_signature(SIGNATURES[name])
    signature = inspect.signature(function)
    hints = get_type_hints(function)
    assert set(hints) == {*signature.parameters, "return"}
    assert all(hints[p.name] == p.annotation for p in signature.parameters.values())
    assert all(hints[i] is tf.Tensor for i in inputs)
    if "truncation_psi" in keywords:
        assert hints["truncation_psi"] == float | tf.Tensor | None
    args = inspect.getdoc(function).partition("\nArgs:\n")[2].partition("\n\n")[0]
    entries = [line.partition(":")[0] for line in args.splitlines() if line[:8].strip()]
    documented = [name.strip() for entry in entries for name in entry.split(",")]
    assert sorted(set(documented) - {"kwargs"}) == sorted([*inputs, *keywords])


def test_annotations_that_differ():
    """None is no group size or width except where it means something."""
    groups = {n: get_type_hints(f).get("mbstd_group_size") for n, f in FUNCTIONS.items()}
    assert (
        groups["networks.D_main"] == int | None and groups["networks_stylegan2.D_stylegan"] is int
    )
    widths = {n: get_type_hints(f).get("mapping_fmaps") for n, f in FUNCTIONS.items()}
    assert {n for n, kind in widths.items() if kind == int | None} == {
        "networks.G_mapping",
        "networks.D_main",
    }


# The mechanism


@dataclass(frozen=True)
class Shape:
    """What is drawn.

    Attributes:
        width, height: in pixels,
            of the screen.
        name: of it.
    """

    width: int = 3
    height: int = 4
    name: str = "box"


@dataclass(frozen=True)
class Tall(Shape):
    """What is drawn high.

    Attributes:
        height: more than usual.
    """

    height: float = 9.5


def make_table() -> dict[str, Callable]:
    def draw(image: str, spec: Tall) -> Tall:
        """Draws.

        Args:
            image: on what.

        Returns:
            what was asked for.
        """
        return spec

    def whole(latents: str, spec: Shape, **kwargs: Any) -> tuple:
        """Whole.

        Args:
            latents: z.
        """
        return spec, kwargs

    def part(latents: str, spec: Tall) -> Tall:
        """Part.

        Args:
            latents: z.
        """
        return spec

    module = OfficialModule("somewhere")
    module.build_function("D_draw", draw, without="name", width=5)
    module.build_function("G_main", whole)
    module.build_function("G_mapping", part, is_part=True)
    with pytest.raises(ValueError, match="no spec has a field depth, weight"):
        module.build_function("D_other", draw, without="name depth", weight=3)
    return module.build_functions


def test_keyword_arguments_become_specs():
    draw = make_table()["D_draw"]
    assert draw(0) == Tall(width=5, height=9.5, name="box")
    assert draw(0, height=1) == draw(0, 5, 1) == draw(image=0, height=1) == Tall(5, 1, "box")
    assert str(inspect.signature(draw)) == (
        f"(image: str, width: int = 5, height: float = 9.5) -> {__name__}.Tall"
    )
    assert (draw.__module__, draw.__name__) == ("somewhere", "D_draw")
    assert inspect.getdoc(draw) == (
        "Draws.\n\nArgs:\n    image: on what.\n    width: in pixels,\n        of the screen.\n"
        "    height: more than usual.\n\nReturns:\n    what was asked for."
    )
    with pytest.raises(TypeError, match="image"):
        draw(width=1)
    with pytest.raises(UserError, match=r"D_draw\(\) has no keyword argument 'color', 'name'"):
        draw(0, name="x", color="red")
    with pytest.raises(FrozenInstanceError):
        draw(0).width = 3


def test_a_layer_chooses_and_orders_parameters(session, monkeypatch):
    monkeypatch.setattr(layout, "internal_format", lambda: layout.NHWC)

    def paint(x: tf.Tensor, times: int, spec: Shape, shade: float = 1) -> tf.Tensor:
        """Paints.

        Args:
            x: activations.
            times, shade: how often, and
                how dark.
        """
        assert x.shape.as_list() == [2, 4, 5, 3]
        return x * times * spec.width * shade

    module = OfficialModule("somewhere")
    layer = module.layer("layer", paint, "x times width", width=5)
    x = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    np.testing.assert_array_equal(tflib.run(layer(x, 7, 2)), x * 14)
    np.testing.assert_array_equal(tflib.run(layer(x, times=2)), x * 10)
    assert list(inspect.signature(layer).parameters) == ["x", "times", "width"]
    assert "times, shade: how often, and\n        how dark.\n    width: in pix" in layer.__doc__
    assert "name" not in layer.__doc__ and module.build_functions == {}
    with pytest.raises(ValueError, match="paint has no color, depth"):
        module.layer("layer", paint, "x color", depth=3)


def test_parts_of_a_generator_are_given_the_keyword_arguments_of_the_others():
    table = make_table()
    whole, part = table["G_main"], table["G_mapping"]
    assert whole(0, width=1) == (Shape(width=1), {})
    table["G_synthesis"] = lambda w, color="red", **_kwargs: None
    table["G_synthesis_other"] = lambda w, shade="dark", **_kwargs: None
    given = {"color": "blue", "shade": "light"}
    assert whole(0, width=1, **given) == (Shape(width=1), given)
    assert part(0, **given) == Tall()
    for function, name in ((whole, "kwargs"), (part, "_kwargs"), (whole, "w"), (part, "spec")):
        with pytest.raises(UserError, match=rf"{function.__name__}\(\) has no .* '{name}'"):
            function(0, **{name: 1})


def test_a_synthesis_network_refuses_what_only_another_one_has(session):
    dlatents = tf.zeros([1, 2, 4])
    options = {"resolution": 4, "dlatent_size": 4, "fmap_max": 2}
    function = networks_stylegan2.G_synthesis_stylegan2
    with pytest.raises(UserError, match=r"G_synthesis_stylegan2\(\) has no .* 'use_noises'"):
        function(dlatents, use_noises=True, **options)
    # Scripts for StyleGAN give it to every network.
    with pytest.warns(UserWarning, match=r"G_synthesis_stylegan2\(\) has no .* 'structure'"):
        function(
            dlatents,
            structure="auto",
            mapping_layers=3,
            truncation_psi=0.3,
            components=None,
            **options,
        )


def test_specs_know_sizes_and_refuse_what_there_is_not():
    spec = SynthesisSpec(resolution=16, base_size=(6, 5), fmap_base=64, fmap_max=20)
    assert (spec.log2, spec.size(4)) == (4, (24, 20))
    assert [spec.fmaps(stage) for stage in range(5)] == [20, 20, 16, 8, 4]
    for spec in (SynthesisSpec, AdaDiscriminatorSpec):
        with pytest.raises(UserError, match="dtype 'float16'"):
            spec(dtype="float16")
        with pytest.raises(UserError, match=r"'unet'.*orig, skip, resnet"):
            spec(architecture="unet")


# Defaults


def defaults(tree):
    """(name, value) of every default in a signature, in fields and in decorators of faces."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            args = node.args
            names = [a.arg for a in (*args.posonlyargs, *args.args)]
            given = [*zip(reversed(names), reversed(args.defaults), strict=False)]
            given += [(a.arg, d) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
            yield from ((name, value) for name, value in given if value is not None)
        elif isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and field.value is not None:
                    yield field.target.id, field.value
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in (
            "build_function",
            "layer",
        ):
            options = ("without", "is_part")
            yield from ((k.arg, k.value) for k in node.keywords if k.arg not in options)


def test_defaults_are_found():
    code = (
        "def f(a, b=1, *, c, d=2): pass\n"
        "class S:\n    e: int = 3\n    g: int\n"
        "M.build_function('F', body, without='e', h=4)\n"
    )
    assert [name for name, _ in defaults(ast.parse(code))] == ["b", "d", "e", "h"]


def test_no_default_of_a_network_stands_in_more_than_two_places():
    """In none of the rooms; a None of another room says that nothing is given to a network."""
    places = defaultdict(list)
    for path in sorted(TRAINING.rglob("*.py")):
        name = path.relative_to(TRAINING).as_posix()
        is_network = name.startswith(("networks", "architecture/"))
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if name.startswith("networks"):  # Layers have the defaults of their own signatures.
            tree.body = [n for n in tree.body if "build_function" in ast.dump(n)]
        elif name.endswith("official_layers.py"):
            continue
        for keyword, value in defaults(tree):
            if is_network or getattr(value, "value", value) is not None:
                places[keyword].append(f"{name}:{value.lineno}")
    keywords = {k for text in SIGNATURES.values() for k in read_signature(text)[1]}
    assert all(places[keyword] for keyword in keywords)
    assert {k: places[k] for k in keywords if len(places[k]) > 2} == {}
