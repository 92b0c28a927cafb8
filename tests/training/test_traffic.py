"""What programs move, counted by hand on small texts and on programs compiled here."""

import jax
import jax.numpy as jnp

from jaxdistill.training import traffic

FUSED = """
%picked (param_0: f32[100,8], param_1: s32[]) -> f32[1,8] {
  %param_0 = f32[100,8]{1,0} parameter(0), metadata={op_name="a"}
  %param_1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %slice = f32[1,8]{1,0} dynamic-slice(%param_0, %param_1, %zero), dynamic_slice_sizes={1,8}
}

%body (carry: (s32[], f32[4])) -> (s32[], f32[4]) {
  %carry = (s32[], f32[4]{0}) parameter(0)
  %number = s32[] get-tuple-element(%carry), index=0
  %x = f32[4]{0} get-tuple-element(%carry), index=1
  %twice = f32[4]{0} add(%x, %x)
  ROOT %next = (s32[], f32[4]{0}) tuple(%number, %twice)
}

%condition (carry.1: (s32[], f32[4])) -> pred[] {
  %carry.1 = (s32[], f32[4]{0}) parameter(0)
  %number.1 = s32[] get-tuple-element(%carry.1), index=0
  %three = s32[] constant(3)
  ROOT %less = pred[] compare(%number.1, %three), direction=LT
}

ENTRY %main (data: f32[100,8], row: s32[], start: (s32[], f32[4])) -> f32[1,8] {
  %data = f32[100,8]{1,0} parameter(0)
  %row = s32[] parameter(1)
  %start = (s32[], f32[4]{0}) parameter(2)
  %loop = (s32[], f32[4]{0}) while(%start), condition=%condition, body=%body
  %near = f32[16]{0:T(128)S(1)} copy(%row)
  ROOT %row_of = f32[1,8]{1,0} fusion(%data, %row), kind=kLoop, calls=%picked
}
"""


def test_slices_loops_and_near_memory_are_counted_as_what_moves():
  counted = traffic.read(FUSED)
  picked = 8 * 4 + 4 + 8 * 4  # the row that is read, its number, the row that is written
  loop = 3 * (2 * 16 + 16)
  near = 4  # read; what it writes stays on the chip
  assert counted.bytes == picked + loop + near
  assert counted.bytes_everywhere == counted.bytes + 16 * 4
  assert counted.operations == 3 + 1 + 1
  assert counted.largest[0][:2] == (loop // 3 * 3, 'add') and counted.collectives == {}


BRANCHES = """
%small (a: f32[2]) -> f32[2] {
  %a = f32[2]{0} parameter(0)
  ROOT %n = f32[2]{0} negate(%a)
}

%large (b: f32[2]) -> f32[2] {
  %b = f32[2]{0} parameter(0)
  %n.1 = f32[2]{0} negate(%b)
  ROOT %m = f32[2]{0} negate(%n.1)
}

ENTRY %main (p: s32[], x: f32[2], y: bf16[8]) -> f32[2] {
  %p = s32[] parameter(0)
  %x = f32[2]{0} parameter(1)
  %y = bf16[8]{0} parameter(2)
  %begun = (bf16[8]{0}, bf16[16]{0}) all-gather-start(%y), dimensions={0}
  %gathered = bf16[16]{0} all-gather-done(%begun)
  %call = (f32[4]{0}, u8[1000]{0}) custom-call(%x), custom_call_target="library"
  ROOT %c = f32[2]{0} conditional(%p, %x, %x), branch_computations={%small, %large}
}
"""


def test_the_branch_that_moves_most_counts_and_no_room_of_a_library():
  counted = traffic.read(BRANCHES)
  gathered = 16 + 16 + 32
  assert counted.bytes == 2 * 16 + (8 + 16) + gathered
  assert counted.counts == {'all-gather': 1} and counted.collectives == {'all-gather': 24}


def lowered(function, *shapes):
  return jax.jit(function).lower(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))


def test_flops_of_products_and_convolutions_loops_and_gradients():
  def product(a, b):
    return jax.lax.fori_loop(0, 5, lambda _, c: c @ b, a).sum()

  text = lowered(product, (4, 6), (6, 6)).as_text(dialect='hlo')
  assert traffic.flops(text) == 5 * 2 * 4 * 6 * 6

  def convolved(x, kernel):
    y = jax.lax.conv_general_dilated(
      x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    return jnp.square(y).sum()

  once = 2 * (2 * 8 * 8 * 5) * (3 * 3 * 3)
  text = lowered(convolved, (2, 8, 8, 3), (3, 3, 3, 5)).as_text(dialect='hlo')
  assert traffic.flops(text) == once
  both = jax.grad(convolved, argnums=(0, 1))
  text = lowered(both, (2, 8, 8, 3), (3, 3, 3, 5)).as_text(dialect='hlo')
  assert traffic.flops(text) == 3 * once


def test_a_program_of_this_machine_reads_and_writes_its_arrays_once():
  compiled = lowered(lambda a, b: a + b, (64, 64), (64, 64)).compile()
  counted = traffic.read(compiled.as_text())
  assert counted.bytes == 3 * 64 * 64 * 4 and counted.grouped == 0


def test_grouped_convolutions_are_found():
  def one(x, kernel):
    dimensions = ('NHWC', 'HWIO', 'NHWC')
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=dimensions)

  text = lowered(jax.vmap(one), (5, 2, 8, 8, 3), (5, 3, 3, 3, 4)).as_text(dialect='hlo')
  assert traffic.read(text).grouped == 1
