"""The cases that a licence engine must get right: contradicting sources, versions, purposes, merges, data, silence."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from headstock.errors import Corrupt, FailedPrecondition
from headstock.licences.composition import Verdict, judge
from headstock.licences.context import Context
from headstock.licences.expression import parse
from headstock.licences.naming import check_published_name
from headstock.licences.outbound import sharing
from headstock.licences.policy import Policy
from headstock.licences.proof import replay
from headstock.licences.settled import settle
from headstock.testing.lineage import Lineage

POLICY = Policy.default()
ENFORCE = Policy.from_mapping({"mode": {"unknown": "enforce"}})
RESEARCH = Context(purpose="research")
COMMERCIAL = Context(purpose="commercial", audience="public")
PUBLISH = Context(purpose="commercial", audience="public", act="distribute")


def ask(lineage: Lineage, name: str, context: Context, policy: Policy = POLICY) -> Verdict:
    return judge(lineage.facts(), lineage[name], context, policy)


def kinds(verdict: Verdict) -> set[str]:
    return {finding.kind for finding in verdict.findings}


def duties(verdict: Verdict) -> set[str]:
    return {duty.duty for duty in verdict.duties}


# ------------------------------------------------------------------------------------- 1: CLIP
def test_clip_with_three_answers_is_a_conflict_and_nothing_is_concluded() -> None:
    """The publisher's repository has no tag, its code says MIT, a conversion says Apache-2.0."""
    lineage = Lineage()
    lineage.backbone("clip", modality="multimodal")
    lineage.says("clip", "", "hub-tag")
    lineage.says("clip", "MIT", "licence-file")
    lineage.says("clip", "apache-2.0", "card")

    verdict = ask(lineage, "clip", COMMERCIAL)
    settled = settle(lineage.facts(), lineage["clip"])

    assert "conflict" in kinds(verdict)
    assert verdict.action == "warn"
    assert (settled.concluded, settled.declared) == ("NOASSERTION", "Apache-2.0 / MIT")


# ------------------------------------------------------------------------------------- 2: GPT-2
def test_gpt2_whose_tag_says_mit_but_whose_text_is_another_is_a_finding() -> None:
    lineage = Lineage()
    lineage.backbone("gpt2", tag="mit")
    lineage.says("gpt2", "NOASSERTION", "licence-file", raw="Modified MIT License Software Copyright")

    verdict = ask(lineage, "gpt2", COMMERCIAL)

    assert "text-differs" in kinds(verdict)
    assert verdict.value == "unknown"
    lineage.conclude("gpt2", "LicenseRef-headstock-gpt2-modified-mit")
    concluded = ask(lineage, "gpt2", COMMERCIAL)
    assert concluded.value == "allow"
    assert "mark-generated" in duties(concluded)


# ------------------------------------------------------------------------------------- 3: wav2vec2
def test_wav2vec2_with_apache_and_mit_records_both_and_is_permitted() -> None:
    lineage = Lineage()
    lineage.backbone("wav2vec2", tag="apache-2.0", modality="audio")
    lineage.says("wav2vec2", "MIT", "licence-file")

    verdict = ask(lineage, "wav2vec2", PUBLISH)

    assert settle(lineage.facts(), lineage["wav2vec2"]).declared == "Apache-2.0 / MIT"
    assert verdict.value == "allow"
    assert "conflict" in kinds(verdict)
    assert {d.licence for d in verdict.duties if d.duty == "include-text"} == {"Apache-2.0", "MIT"}


# ------------------------------------------------------------------------------------- 4: Gemma 3 and 4
def test_a_head_on_gemma_3_brings_other_duties_than_one_on_gemma_4() -> None:
    lineage = Lineage()
    lineage.backbone("gemma-3", tag="gemma")
    lineage.backbone("gemma-4", tag="apache-2.0")
    lineage.model("on-3", on="gemma-3")
    lineage.model("on-4", on="gemma-4")

    three, four = (ask(lineage, name, COMMERCIAL) for name in ("on-3", "on-4"))

    # The tag names no edition of Gemma's terms, and those that are known may not be all.
    assert (three.value, four.value) == ("unknown", "allow")
    assert {"pass-through", "acceptable-use", "remote-restriction"} <= duties(three)
    assert duties(four) == set()


def test_the_gemma_tag_names_no_date_so_every_known_edition_is_weighed() -> None:
    lineage = Lineage()
    lineage.backbone("gemma-3", tag="gemma")

    verdict = ask(lineage, "gemma-3", COMMERCIAL)

    assert "ambiguous" in kinds(verdict)
    named = {duty.licence for duty in verdict.duties}
    assert named == {
        "LicenseRef-headstock-gemma-terms-2024-04-01",
        "LicenseRef-headstock-gemma-terms-2025-03-24",
        "LicenseRef-headstock-gemma-terms-2026-04-01",
    }
    assert verdict.value == "unknown", "there may be editions that nobody has a record of"
    assert ask(lineage, "gemma-3", Context(purpose="commercial", sector="sexual-content")).value == "deny"


# ------------------------------------------------------------------------------------- 5: Llama 3.2
@pytest.mark.parametrize("where", ["EU", "DE", "FR"])
def test_llama_3_2_vision_is_denied_to_an_operator_in_the_eu(where: str) -> None:
    lineage = Lineage()
    lineage.backbone("llama-vision", tag="llama3.2", modality="multimodal")
    context = Context(purpose="commercial", audience="public", territory=where)

    verdict = ask(lineage, "llama-vision", context)

    assert (verdict.value, verdict.action) == ("deny", "refuse")
    assert "not granted to those established in EU" in verdict.reason
    assert ask(lineage, "llama-vision", Context(purpose="commercial", territory="US")).value == "allow"
    assert ask(lineage, "llama-vision", Context(purpose="commercial")).value == "unknown"


def test_llama_3_2_text_is_allowed_in_the_eu_with_a_naming_duty() -> None:
    lineage = Lineage()
    lineage.backbone("llama-1b", tag="llama3.2", modality="text")
    lineage.model("intents", on="llama-1b")

    verdict = ask(lineage, "intents", Context(purpose="commercial", audience="public", territory="DE"))

    assert verdict.value == "allow"
    assert {"display", "name-prefix"} <= duties(verdict)
    assert "Built with Llama" in {duty.payload for duty in verdict.duties}
    with pytest.raises(FailedPrecondition, match="begins with 'Llama'; found 'intents'") as error:
        check_published_name("intents", verdict.duties)
    assert error.value.fix == "publish it as llama-intents"
    check_published_name("llama-intents", verdict.duties)


def test_a_restriction_of_one_modality_is_unknown_where_the_modality_is() -> None:
    """Llama 3.2 that is only named as a parent may be the text or the vision model."""
    lineage = Lineage()
    lineage.backbone("child", tag="llama3.2")
    lineage.source("parent", "hf:meta-llama/some-3.2", tag="llama3.2")
    lineage.edge("child", "finetuned_from", "parent")

    assert ask(lineage, "child", Context(purpose="commercial", territory="DE")).value == "unknown"
    assert ask(lineage, "child", Context(purpose="commercial", territory="US")).value == "allow"


def test_llama_above_seven_hundred_million_users_needs_another_licence() -> None:
    lineage = Lineage()
    lineage.backbone("llama", tag="llama3.1")

    assert ask(lineage, "llama", Context(purpose="commercial", scale=700_000_001)).value == "deny"
    assert ask(lineage, "llama", Context(purpose="commercial", scale=700_000_000)).value == "allow"
    cautious = POLICY.with_stances(unstated_scale="unknown")
    assert ask(lineage, "llama", Context(purpose="commercial"), cautious).value == "unknown"


# ------------------------------------------------------------------------------------- 6: NC backbone
def test_an_apache_head_on_an_nc_backbone_is_for_research_but_not_for_commerce() -> None:
    """Both models stand on one backbone digest, so their rows still share a batch."""
    lineage = Lineage()
    lineage.backbone("dino", tag="cc-by-nc-4.0", modality="image")
    lineage.model("flowers", on="dino")
    lineage.says("head of flowers", "apache-2.0", "card")

    assert ask(lineage, "flowers", RESEARCH).value == "allow"
    denied = ask(lineage, "flowers", COMMERCIAL)
    assert (denied.value, denied.action) == ("deny", "refuse")
    assert denied.reason == "backbone dino: CC-BY-NC-4.0: non-commercial, and the purpose is commercial"
    assert ask(lineage, "flowers", Context(purpose="internal")).value == "unknown"


# ------------------------------------------------------------------------------------- 7: merges
def merged(*tags: str) -> Lineage:
    lineage = Lineage()
    lineage.backbone("merge")
    lineage.says("merge", "LicenseRef-headstock-own-work", "operator")
    for number, tag in enumerate(tags):
        lineage.backbone(f"parent-{number}", tag=tag)
        lineage.edge("merge", "merged_from", f"parent-{number}")
    return lineage


def outbound(*licences: str) -> Sequence[str]:
    return sharing([parse(licence) for licence in licences]).licences


def test_mit_and_gpl_3_go_out_under_gpl_3_only() -> None:
    assert ask(merged("mit", "gpl-3.0"), "merge", PUBLISH).value == "allow"
    assert outbound("MIT", "GPL-3.0-only") == ("GPL-3.0-only",)


def test_lgpl_3_and_gpl_3_go_out_under_gpl_3() -> None:
    assert outbound("LGPL-3.0-only", "GPL-3.0-only") == ("GPL-3.0-only",)


def test_gpl_2_only_and_gpl_3_cannot_go_out_together() -> None:
    lineage = merged("gpl-2.0", "gpl-3.0")

    verdict = ask(lineage, "merge", PUBLISH)

    assert verdict.value == "deny"
    assert "no licence satisfies GPL-2.0-only and GPL-3.0-only at once" in verdict.reason
    assert ask(lineage, "merge", COMMERCIAL).value == "allow", "only sharing asks for one licence"


def test_gpl_2_or_later_and_gpl_3_go_out_under_gpl_3() -> None:
    assert outbound("GPL-2.0-or-later", "GPL-3.0-only") == ("GPL-3.0-only",)


def test_nc_and_nc_nd_may_be_merged_in_private_but_not_shared() -> None:
    lineage = merged("cc-by-nc-4.0", "cc-by-nc-nd-4.0")

    assert ask(lineage, "merge", RESEARCH).value == "allow"
    shared = ask(lineage, "merge", Context(purpose="research", act="distribute"))
    assert shared.value == "deny"
    assert "changed works may not be shared" in shared.reason


def test_llama_and_gemma_merged_are_restricted_by_both() -> None:
    lineage = merged("llama3.1", "gemma")
    military = Context(purpose="commercial", sector="military")
    content = Context(purpose="commercial", sector="sexual-content")

    assert ask(lineage, "merge", military).value == "deny", "Llama's list"
    assert ask(lineage, "merge", content).value == "deny", "Gemma's list"
    assert {"name-prefix", "pass-through"} <= duties(ask(lineage, "merge", PUBLISH))
    both = outbound("LicenseRef-headstock-llama-3.1", "LicenseRef-headstock-gemma-terms-2026-04-01")
    assert both == ("LicenseRef-headstock-gemma-terms-2026-04-01 AND LicenseRef-headstock-llama-3.1",)


def test_share_alike_and_non_commercial_cannot_go_out_together() -> None:
    assert outbound("CC-BY-SA-4.0", "CC-BY-NC-4.0") == ()
    assert outbound("CC-BY-NC-SA-4.0", "CC-BY-NC-4.0") == ("CC-BY-NC-SA-4.0",)


def test_a_child_that_claims_apache_over_llama_is_found() -> None:
    lineage = Lineage()
    lineage.backbone("llama", tag="llama3")
    lineage.backbone("washed", tag="apache-2.0")
    lineage.edge("washed", "finetuned_from", "llama")

    verdict = ask(lineage, "washed", COMMERCIAL)

    assert "relicensed" in kinds(verdict)
    assert "Built with Meta Llama 3" in {duty.payload for duty in verdict.duties}


# ------------------------------------------------------------------------------------- 8: stances on data
@pytest.mark.parametrize(
    "stance, commercial, research, warned",
    [
        ("ignore", "allow", "allow", False),
        ("attribute", "allow", "allow", False),
        ("warn", "allow", "allow", True),
        ("inherit-nc", "deny", "allow", False),
        ("inherit-all", "deny", "allow", False),
    ],
)
def test_an_imagenet_backbone_under_each_stance_on_training_data(
    stance: str, commercial: str, research: str, warned: bool
) -> None:
    lineage = Lineage()
    lineage.backbone("resnet", tag="apache-2.0", modality="image")
    lineage.dataset("imagenet-1k")
    lineage.says("imagenet-1k", "LicenseRef-headstock-imagenet-terms", "operator")
    lineage.edge("resnet", "trained_on", "imagenet-1k")
    policy = POLICY.with_stances(training_data=stance)

    verdict = ask(lineage, "resnet", COMMERCIAL, policy)

    assert verdict.value == commercial
    assert ("training-data" in kinds(verdict)) is warned
    assert (verdict.action == "warn") is warned
    assert ask(lineage, "resnet", RESEARCH, policy).value == research


def test_the_attribute_stance_adds_the_duty_to_attribute_the_data() -> None:
    lineage = Lineage()
    lineage.backbone("wav2vec2", tag="apache-2.0", modality="audio")
    lineage.dataset("librispeech", tag="cc-by-4.0")
    lineage.edge("wav2vec2", "trained_on", "librispeech")

    def owed(stance: str) -> set[str]:
        found = ask(lineage, "wav2vec2", PUBLISH, POLICY.with_stances(training_data=stance)).duties
        return {duty.licence for duty in found if duty.duty == "attribution"}

    assert (owed("warn"), owed("attribute")) == (set(), {"CC-BY-4.0"})


# ------------------------------------------------------------------------------------- 9: the unknown
@pytest.mark.parametrize("tag", [None, "other", "unknown", "llama", "openrail", "cc", "gpl", "see LICENSE"])
def test_an_unknown_licence_is_refused_under_enforce_and_warned_of_under_warn(tag: str | None) -> None:
    lineage = Lineage()
    lineage.backbone("mystery", tag=tag)
    lineage.model("intents", on="mystery")

    for name in ("mystery", "intents"):
        assert ask(lineage, name, COMMERCIAL, ENFORCE).action == "refuse"
        warned = ask(lineage, name, COMMERCIAL, POLICY)
        assert (warned.value, warned.action) == ("unknown", "warn")


def test_off_goes_on_in_silence() -> None:
    lineage = Lineage()
    lineage.backbone("mystery")
    off = Policy.from_mapping({"mode": {"unknown": "off", "deny": "off"}})

    assert ask(lineage, "mystery", COMMERCIAL, off).action == "allow"
    assert ask(lineage, "mystery", COMMERCIAL, off).value == "unknown"


# ------------------------------------------------------------------------------------- heads, parents, distillation
def test_a_head_alone_is_flagged_as_contested_and_its_model_bound_by_both() -> None:
    lineage = Lineage()
    lineage.backbone("features", tag="cc-by-nc-4.0")
    lineage.model("wakeword", on="features")
    head = "head of wakeword"

    assert ask(lineage, head, COMMERCIAL).value == "unknown"
    assert ask(lineage, head, COMMERCIAL, POLICY.with_stances(heads="own")).value == "allow"
    assert ask(lineage, head, COMMERCIAL, POLICY.with_stances(heads="inherit")).value == "deny"
    for stance in ("own", "inherit", "contested"):
        assert ask(lineage, "wakeword", COMMERCIAL, POLICY.with_stances(heads=stance)).value == "deny"


def test_a_named_parent_that_nobody_knows_leaves_the_child_unknown() -> None:
    lineage = Lineage()
    lineage.backbone("child", tag="mit")
    lineage.source("parent", "hf:someone/secret")
    lineage.edge("child", "finetuned_from", "parent")

    assert ask(lineage, "child", COMMERCIAL).value == "unknown"
    trusting = POLICY.with_stances(unstated_parent="trust-child")
    assert ask(lineage, "child", COMMERCIAL, trusting).value == "allow"


def test_a_parent_known_from_elsewhere_is_known() -> None:
    lineage = Lineage()
    lineage.backbone("child", tag="mit")
    lineage.source("parent", "hf:google-bert/bert-base-uncased")
    lineage.edge("child", "finetuned_from", "parent")
    lineage.backbone("other", tag="mit")
    lineage.source("pulled", "hf:test/llama-base")
    lineage.edge("other", "finetuned_from", "pulled")
    lineage.backbone("llama-base", tag="llama3.1")

    assert ask(lineage, "child", COMMERCIAL).value == "allow"
    assert "display" in duties(ask(lineage, "other", COMMERCIAL)), "what hf:test/llama-base says was read once"


@pytest.mark.parametrize(
    "teacher, commercial, research",
    [
        ("mit", "allow", "allow"),
        ("cc-by-nc-4.0", "unknown", "allow"),
        ("cc0-1.0", "allow", "allow"),
        ("llama3", "unknown", "unknown"),
        ("llama3.1", "allow", "allow"),
    ],
)
def test_what_passes_along_distillation_is_what_the_text_reaches(teacher: str, commercial: str, research: str) -> None:
    lineage = Lineage()
    lineage.backbone("teacher", tag=teacher)
    lineage.backbone("student", tag="mit")
    lineage.edge("student", "trained_on_outputs_of", "teacher")

    assert ask(lineage, "student", COMMERCIAL).value == commercial
    assert ask(lineage, "student", RESEARCH).value == research


def test_openrail_and_gemma_reach_what_was_distilled_and_llama_3_1_names_it() -> None:
    lineage = Lineage()
    for teacher, tag in (("rail", "bigscience-openrail-m"), ("gemma", "gemma"), ("llama", "llama3.1")):
        lineage.backbone(teacher, tag=tag)
        lineage.backbone(f"from-{teacher}", tag="mit")
        lineage.edge(f"from-{teacher}", "distilled_from", teacher)

    assert "pass-through" in duties(ask(lineage, "from-rail", COMMERCIAL))
    assert "pass-through" in duties(ask(lineage, "from-gemma", COMMERCIAL))
    assert duties(ask(lineage, "from-llama", COMMERCIAL)) == {"name-prefix"}


@pytest.mark.parametrize("relation", ["evaluated_on", "built_by_plugin"])
def test_evaluation_data_and_plugin_code_never_reach_the_weights(relation: str) -> None:
    lineage = Lineage()
    lineage.backbone("bert", tag="apache-2.0")
    lineage.dataset("benchmark", tag="cc-by-nc-nd-4.0")
    lineage.edge("bert", relation, "benchmark")

    assert ask(lineage, "bert", PUBLISH).value == "allow"


def code_of(verdict: Verdict) -> list[tuple[str, str]]:
    return [(node["about"], node["value"]) for node in verdict.proof.get("code", [])]


def test_the_code_of_plugins_has_verdicts_of_its_own_beside_that_on_the_composition() -> None:
    """Neither stricter nor milder for it; a plugin of which nothing is stated is unknown, not allowed."""
    lineage = Lineage()
    lineage.backbone("bert", tag="apache-2.0")
    lineage.model("intents", on="bert")
    alone = ask(lineage, "intents", COMMERCIAL)
    for plugin, licence in (("free", "MIT"), ("nc", "CC-BY-NC-4.0"), ("silent", "")):
        lineage.plugin(plugin, licence=licence)
        lineage.edge("bert", "built_by_plugin", plugin)
    lineage.edge("head of intents", "built_by_plugin", "nc")

    verdict = ask(lineage, "intents", COMMERCIAL)

    assert code_of(alone) == []
    assert code_of(verdict) == [("plugin free", "allow"), ("plugin nc", "deny"), ("plugin silent", "unknown")]
    assert (verdict.value, verdict.reason, verdict.duties) == (alone.value, alone.reason, alone.duties)
    assert verdict.proof_id != alone.proof_id
    assert replay(verdict.proof) == "allow"


def test_a_proof_whose_code_says_what_does_not_follow_is_not_replayed() -> None:
    lineage = Lineage()
    lineage.backbone("bert", tag="apache-2.0")
    lineage.plugin("nc", licence="CC-BY-NC-4.0")
    lineage.edge("bert", "built_by_plugin", "nc")
    proof = dict(ask(lineage, "bert", COMMERCIAL).proof)
    proof["code"] = [{**proof["code"][0], "value": "allow"}]

    with pytest.raises(Corrupt, match="says 'allow' about 'plugin nc', but it is 'deny'"):
        replay(proof)


def test_a_plugin_under_a_free_licence_makes_no_unlicensed_backbone_free() -> None:
    """What is known of code says nothing about weights."""
    lineage = Lineage()
    lineage.backbone("bert")
    lineage.plugin("free", licence="MIT")
    lineage.edge("bert", "built_by_plugin", "free")

    assert ask(lineage, "bert", COMMERCIAL).value == "unknown"
    assert settle(lineage.facts(), lineage["bert"]).declared == "NOASSERTION"
    assert settle(lineage.facts(), lineage["free"]).declared == "MIT"


@pytest.mark.parametrize("relation", ["finetuned_from", "quantised_from", "converted_from", "pruned_from"])
def test_a_changed_format_keeps_every_term(relation: str) -> None:
    """A quantised Gemma uploaded as Apache is still Gemma."""
    lineage = Lineage()
    lineage.backbone("gemma", tag="gemma")
    lineage.backbone("small", tag="apache-2.0")
    lineage.edge("small", relation, "gemma")

    verdict = ask(lineage, "small", Context(purpose="commercial", sector="malicious-content"))

    assert verdict.value == "deny"
    assert "relicensed" in kinds(ask(lineage, "small", COMMERCIAL))


def test_a_choice_of_licences_needs_one_and_a_conjunction_needs_all() -> None:
    lineage = Lineage()
    lineage.backbone("either")
    lineage.says("either", "CC-BY-NC-4.0 OR MIT")
    lineage.backbone("both")
    lineage.says("both", "CC-BY-NC-4.0 AND MIT")
    lineage.backbone("listed")
    lineage.says("listed", ["cc-by-nc-4.0", "mit"])

    assert ask(lineage, "either", COMMERCIAL).value == "allow"
    assert ask(lineage, "both", COMMERCIAL).value == "deny"
    assert ask(lineage, "listed", COMMERCIAL).value == "unknown", "a list says neither and nor or"


def test_a_record_that_was_not_read_in_full_never_allows() -> None:
    lineage = Lineage()
    lineage.backbone("grok", tag="grok2-community")

    assert ask(lineage, "grok", RESEARCH).value == "unknown"


def test_the_policy_can_refuse_a_licence_whatever_it_says() -> None:
    lineage = Lineage()
    lineage.backbone("bert", tag="agpl-3.0")
    policy = Policy.from_mapping({"refuse": {"licences": ["AGPL-3.0-only"]}})

    assert ask(lineage, "bert", RESEARCH).value == "allow"
    assert ask(lineage, "bert", RESEARCH, policy).value == "deny"


def test_serving_the_public_is_an_act_under_agpl_openrail_and_gemma_and_none_under_mit() -> None:
    lineage = Lineage()
    for name, tag in (("a", "agpl-3.0"), ("r", "bigscience-openrail-m"), ("g", "gemma"), ("m", "mit")):
        lineage.backbone(name, tag=tag)
    inside = Context(purpose="commercial", audience="self")

    for name, duty in (("a", "source-offer"), ("r", "pass-through"), ("g", "pass-through")):
        assert duty in duties(ask(lineage, name, COMMERCIAL))
        assert duty not in duties(ask(lineage, name, inside))
    assert duties(ask(lineage, "m", COMMERCIAL)) == set()
