"""Several answers behind one prompt are each what they would be in a row of their own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

from training.align.branches import Branch, Role, Scored, Tree, plant, visible

VOCABULARY = 96
TOKENS = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=9)


def llama():
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(shape).eval()


def neox():
    torch.manual_seed(0)
    shape = GPTNeoXConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=128, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return GPTNeoXForCausalLM(shape).eval()


NETS = {"llama": Scored(llama()), "gpt_neox": Scored(neox())}


@torch.no_grad()
def alone(net, prompt, answer):
    """The log-probability of an answer, one plain row at a time."""
    ids = torch.tensor([[*prompt, *answer]])
    chances = torch.log_softmax(net.causal(ids).logits[0, len(prompt) - 1 : -1], -1)
    return chances.gather(1, torch.tensor(answer)[:, None]).sum()


@st.composite
def trees(draw):
    answers = draw(st.lists(TOKENS, min_size=1, max_size=3))
    roles = [draw(st.sampled_from(list(Role))) for _ in answers]
    return Tree(draw(TOKENS), [Branch(*one) for one in zip(answers, roles, strict=True)])


@pytest.mark.parametrize("family", sorted(NETS))
@settings(max_examples=40, deadline=None)
@given(forest=st.lists(trees(), min_size=1, max_size=4))
def test_an_answer_s_probability_does_not_depend_on_its_neighbours(family, forest):
    net = NETS[family]
    with torch.no_grad():
        found = net(plant(forest))
    wanted = [alone(net, tree.prompt, branch.ids) for tree in forest for branch in tree.branches]
    torch.testing.assert_close(found, torch.stack(wanted), atol=2e-4, rtol=1e-5)


@given(forest=st.lists(trees(), min_size=1, max_size=4))
def test_answers_alone_are_scored_and_all_of_their_tokens(forest):
    planted = plant(forest)
    branches = [branch for tree in forest for branch in tree.branches]
    assert planted.targets.tolist() == [token for branch in branches for token in branch.ids]
    assert planted.lengths.tolist() == [len(branch.ids) for branch in branches]
    assert planted.roles.tolist() == [branch.role for branch in branches]
    flat = planted.owners.flatten()
    assert (flat[planted.sources] >= 0).all(), "padding predicts nothing"


def test_no_token_sees_another_answer_or_what_comes_after():
    tree = Tree([1, 2], [Branch([3, 4], Role.CHOSEN), Branch([5], Role.REJECTED)])
    seen = visible(plant([tree]).owners)[0, 0, :5, :5].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def test_a_prompt_learns_only_through_its_answers():
    """The gradient of every embedding that stands in a prompt alone comes from what answers say."""
    net = Scored(llama().train())
    tree = Tree([1, 2, 3], [Branch([7, 8], Role.CHOSEN)])
    forest = plant([tree])
    net(forest).sum().backward()
    logits = torch.zeros(VOCABULARY)
    logits[forest.targets] = 1
    assert logits[[1, 2, 3]].sum() == 0
    assert net.causal.get_input_embeddings().weight.grad[[1, 2, 3]].abs().sum() > 0
