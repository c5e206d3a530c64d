"""oneDNN's lines are read whatever stands between them, and belong to layers by their sizes alone."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbench.profile.onednn import of_layers, read
from dlbench.spec.suite import load_suite

INFO = """\
onednn_verbose,v1,info,oneDNN v3.12.0 (commit 80afa71049cd69a3df32adcccb623b12cd7baa22)
onednn_verbose,v1,info,cpu,runtime:OpenMP,nthr:2
onednn_verbose,v1,primitive,info,template:operation,engine,primitive,implementation,prop_kind,memory_descriptors,\
attributes,auxiliary,problem_desc,exec_time
onednn_verbose,v1,graph,info,template:operation,engine,partition_id,partition_kind,op_names,data_formats,\
logical_tensors,fpmath_mode,implementation,backend,exec_time
"""
# as PyTorch 2.13 and TensorFlow 2.21 had them print, shortened nowhere
STEP = """\
onednn_verbose,v1,primitive,exec,cpu,reorder,jit:blk,undef,src:f32::blocked:abcd::f0 dst:f32::blocked:aBcd16b::f0,\
attr-scratchpad:user,,64x32x26x26,0.25
onednn_verbose,v1,primitive,exec,cpu,convolution,brg_conv_fwd:avx512_core,forward_training,src:f32::blocked:acdb::f0 \
wei:f32:a:blocked:Acdb64a::f0 bia:f32:a:blocked:a::f0 dst:f32::blocked:acdb::f0,attr-scratchpad:user \
attr-post-ops:eltwise_relu,alg:convolution_direct,mb64_ic32oc64_ih26oh24kh3sh1dh0ph0_iw26ow24kw3sw1dw0pw0,3.5
WARNING: something else that was printed
onednn_verbose,v1,primitive,exec,cpu,reorder,jit:blk,undef,src:f32::blocked:abcd::f0 dst:f32::blocked:aBcd16b::f0,\
attr-scratchpad:user,,64x32x26x26,0.75
onednn_verbose,v1,primitive,exec,cpu,inner_product,x64:gemm:jit,forward_training,src:f32::blocked:ab::f0 \
wei:f32::blocked:ba::f0 bia:f32:a:blocked:a::f0 dst:f32::blocked:ab::f0,attr-scratchpad:user,,mb64ic9216oc128,1.5
onednn_verbose,v1,primitive,exec,cpu,gemm_api,,undef,src_f32::blocked:ba:f0 wei_f32::blocked:ab:f0 \
dst_f32::blocked:ab:f0,,,9216x64:64x128,2.5
onednn_verbose,v1,primitive,exec,cpu,convolution,jit:avx512_core,backward_weights,src:f32:a:blocked:abcd::f0 \
wei:f32:a:blocked:Acdb16a::f0 bia:undef::undef::: dst:f32:a:blocked:aBcd16b::f0,attr-scratchpad:user,\
alg:convolution_direct,mb64_ic1oc32_ih28oh26kh3sh1dh0ph0_iw28ow26kw3sw1dw0pw0,0.5
"""


def test_primitives_are_read_with_what_they_took_and_what_they_did_besides():
    reorder, forward, dense, product, backward = read((INFO + STEP).splitlines())
    assert (2, pytest.approx(1e-3)) == (reorder.calls, reorder.total_s)
    assert "" == reorder.direction
    assert "brg_conv_fwd:avx512_core" == forward.implementation
    assert "src:acdb wei:Acdb64a bia:a dst:acdb" == forward.formats
    assert "eltwise_relu" == forward.fused
    assert "forward_training" == dense.direction
    assert "gemm_api" == product.implementation
    assert "src:ba wei:ab dst:ab" == product.formats
    assert "src:abcd wei:Acdb16a dst:aBcd16b" == backward.formats


def test_lines_of_a_version_without_a_template_are_read_too():
    plain = STEP.replace("onednn_verbose,v1,primitive,", "dnnl_verbose,")
    assert read(STEP.splitlines()) == read(plain.splitlines())


def test_fields_are_read_by_the_names_of_the_template():
    template = "onednn_verbose,v1,primitive,info,template:operation,timestamp,primitive,exec_time"
    line = "onednn_verbose,v1,primitive,exec,1795987048.8,reorder,4"
    [found] = read([template, line])
    assert ("reorder", 4e-3, "") == (found.kind, found.total_s, found.problem)


WORDS = st.text(st.characters(blacklist_characters=",\r\n", blacklist_categories=("Cs",)))


@given(st.lists(WORDS | st.sampled_from(STEP.splitlines() + INFO.splitlines()), max_size=12))
def test_anything_may_stand_between_the_lines(lines):
    between = [line for line in lines if not line.startswith(("onednn", "dnnl"))]
    whole = read(STEP.splitlines())
    mixed = [each for line in STEP.splitlines() for each in (*between, line)]
    assert whole == read(mixed)
    assert read(lines) is not None


@given(cut=st.integers(0, len(STEP)))
def test_a_text_that_is_cut_off_has_the_lines_that_are_whole(cut):
    whole = STEP[:cut].splitlines()
    found = sum(each.calls for each in read(whole))
    complete = STEP[:cut].count("onednn_verbose") - 1 if cut else 0
    assert complete <= found <= complete + 1


NAMES = st.text("abcdefgh:_+", min_size=1)


@given(
    kind=NAMES,
    implementation=NAMES,
    tag=st.sampled_from(["abcd", "acdb", "aBcd16b"]),
    took_ms=st.lists(st.floats(0, 1e4), min_size=1, max_size=5),
)
def test_what_is_printed_is_what_is_read(kind, implementation, tag, took_ms):
    lines = [
        f"onednn_verbose,v1,primitive,exec,cpu,{kind},{implementation},undef,src:f32:a:blocked:{tag}::f0,,,1x2,{took}"
        for took in took_ms
    ]
    [found] = read(lines)
    assert (kind, implementation) == (found.kind, found.implementation)
    assert f"src:{tag}" == found.formats
    assert (len(took_ms), pytest.approx(sum(took_ms) * 1e-3, abs=1e-8)) == (
        found.calls,
        found.total_s,
    )


def test_primitives_belong_to_the_layer_that_has_their_sizes():
    workload = load_suite("cnn-mnist").workload
    found = of_layers(read(STEP.splitlines()), workload, 64)
    assert {"reorder", "conv2", "linear1", "conv1"} == found.keys()
    assert ["inner_product", "gemm_api"] == [each.kind for each in found["linear1"]]
    # another batch size is another problem
    assert "conv2" not in of_layers(read(STEP.splitlines()), workload, 32)


def test_layers_of_the_same_sizes_are_a_group():
    workload = load_suite("resnet-cifar10").workload
    [forward] = [each for each in read(STEP.splitlines()) if each.kind == "inner_product"]
    problem = "mb128_ic16oc16_ih32oh32kh3sh1dh0ph1_iw32ow32kw3sw1dw0pw1"
    same = dataclasses.replace(forward, kind="convolution", problem=problem)
    assert ["conv2+conv3+conv4+conv5+conv6+conv7"] == list(of_layers([same], workload, 128))
