"""The 47 systems of the toolkit, with the state each is really in.

For `sfumato systems` and the table in the docs, both generated from here. A system works when it does what its paper
does, on real data, measured and attacked; until then it is planned, or partial if a part of that holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class System:
    """One published system and where it lives or will live."""

    number: int
    title: str
    module: str
    kind: str
    state: Literal["works", "partial", "planned"] = "planned"
    note: str = ""


SYSTEMS: tuple[System, ...] = (
    System(
        1,
        "Differentially private Kaplan-Meier estimator",
        "statistics.survival",
        "protection, formal",
        "works",
        "[study](studies/01-dp-kaplan-meier.md)",
    ),
    System(
        2, "SafeSynthDP: LLM synthetic data with DP", "synthesis.prompting", "protection, heuristic + sound variant"
    ),
    System(3, "Swing distillation", "training.distillation", "protection, heuristic"),
    System(4, "FFA-LoRA", "federation.lora", "protection, formal"),
    System(
        5,
        "Noise-exploitation attacks on Diffix",
        "attacks.sticky_noise",
        "attack",
        "works",
        "[study](studies/05-sticky-noise.md)",
    ),
    System(6, "Anonymizing speech (evaluation and design)", "media.speech", "protection, heuristic + evaluation"),
    System(
        7,
        "DP sequential learning",
        "statistics.sequential",
        "protection, formal",
        "works",
        "[study](studies/07-sequential-learning.md)",
    ),
    System(8, "Trusted Capable Model Environments", "inference.environment", "protection, system"),
    System(9, "Entropy-guided attention", "inference.attention", "protection, enabling"),
    System(
        10,
        "Linear reconstruction against synthetic data",
        "attacks.reconstruction",
        "attack",
        "works",
        "[study](studies/10-linear-reconstruction.md); one target is out of reach there, CTGAN and RAP were not run",
    ),
    System(
        11,
        "From robustness to privacy and back",
        "statistics.robust",
        "protection, formal",
        "works",
        "[study](studies/11-robust-private.md); continuous polytopes are not offered: rounding voids their claim",
    ),
    System(12, "DiffusionGuard", "media.image.immunize", "protection, heuristic"),
    System(13, "Equivariant encryption", "inference.equivariant", "protection, heuristic"),
    System(
        14, "Information flow control in ML pipelines", "inference.information_flow", "protection, non-interference"
    ),
    System(
        15,
        "Sparsity-aware local masking (unlearnable medical images)",
        "media.image.unlearnable",
        "protection, heuristic",
    ),
    System(16, "CryptoNite: private inference end to end", "inference.protocol", "protection, cryptographic"),
    System(17, "SemSim: privacy of reconstructed images", "attacks.perception", "evidence"),
    System(
        18,
        "DP federated linear contextual bandits",
        "federation.bandits",
        "protection, formal",
        "works",
        "[study](studies/18-federated-bandits.md); aggregated noise beats silo noise and grows slower with M; "
        "steering by raw statistics, as published, is attacked and repaired; digits stand in for MSLR-WEB10K",
    ),
    System(
        19,
        "Randomized quantization mechanism",
        "federation.quantization",
        "protection, formal",
        "works",
        "[study](studies/19-randomized-quantization.md); published curves are of one coordinate, and a whole "
        "gradient's claim is vacuous at them; ahead of PBM in some pairs, not in all, at equal bits",
    ),
    System(20, "PrivPAS", "media.sensitive", "protection, heuristic"),
    System(
        21,
        "Subject membership inference in FL",
        "attacks.subject_membership",
        "attack",
        "works",
        "[study](studies/21-subject-membership.md), on generated federations",
    ),
    System(22, "Golden noise for diffusion models", "restoration.golden_noise", "restoration"),
    System(
        23,
        "Does learning require memorization?",
        "training.memorization",
        "evidence",
        "works",
        "[study](studies/23-memorization.md); pruning hits the tail only if no training follows",
    ),
    System(
        24,
        "Private-GSD",
        "synthesis.genetic",
        "protection, formal",
        "works",
        "[study](studies/24-private-tables.md)",
    ),
    System(
        25,
        "Federated heavy hitters with LDP",
        "federation.heavy_hitters",
        "protection, formal",
        "works",
        "[study](studies/25-heavy-hitters.md); ahead of FedPEM at moderate noise, behind at ε = 1; of the paper only "
        "summaries could be read",
    ),
    System(26, "Noise2Score", "restoration.score_denoising", "restoration"),
    System(27, "Emotion-preserving speaker anonymization", "media.speech", "protection, heuristic"),
    System(28, "Pedestrian tracking with distributed 3D LiDARs", "media.lidar", "protection by design"),
    System(
        29,
        "DP-SGD without clipping bias (DiceSGD)",
        "training.error_feedback",
        "protection, formal",
        "partial",
        "[study](studies/29-error-feedback.md); the paper's gain in accuracy does not come out under a sound claim",
    ),
    System(30, "CAMOUFLaGE image anonymization", "media.image.anonymize", "protection, heuristic"),
    System(
        31,
        "Bayesian estimation of differential privacy",
        "attacks.bayesian_audit",
        "attack, audits everything",
        "works",
        "[study](studies/31-bayesian-audit.md), [museum](museum.md)",
    ),
    System(
        32,
        "Statistical validity in adaptive data analysis",
        "statistics.adaptive",
        "protection, formal",
        "works",
        "[study](studies/32-adaptive-analysis.md)",
    ),
    System(
        33,
        "Similarities to private datasets",
        "statistics.similarity",
        "protection, formal",
        "works",
        "[study](studies/33-private-similarity.md)",
    ),
    System(34, "Private synthetic text from LLMs", "synthesis.finetuning", "protection, formal"),
    System(35, "CLIP2Protect", "media.image.makeup", "protection, heuristic"),
    System(36, "Diffusion speech enhancement (SGMSE+)", "restoration.speech_enhancement", "restoration"),
    System(37, "DP-LoRA", "federation.lora", "protection, formal"),
    System(38, "TeD-SPAD video anomaly detection", "media.video", "protection, heuristic"),
    System(39, "Security and privacy risks of open-source models", "attacks.model_risk", "evidence"),
    System(40, "Watermark removal by controllable regeneration", "attacks.watermark", "attack"),
    System(
        41,
        "Learning from aggregate responses",
        "statistics.aggregates",
        "protection, formal",
        "works",
        "[study](studies/41-aggregate-responses.md)",
    ),
    System(
        42,
        "Just one byte per gradient",
        "federation.shared_randomness",
        "enabling",
        "works",
        "[study](studies/42-shared-randomness.md); a byte does what a float32 does, SmolLM2-135M's last layers "
        "included (one seed, 240 bytes); as many scalars as parameters give the gradient away; on the small language "
        "model two machines beat one on 9 of 10 seeds, at p = 0.039 where 0.01 was asked",
    ),
    System(43, "CLIPSep", "restoration.separation", "restoration"),
    System(44, "Membership inference against text-to-image models", "attacks.text_to_image_membership", "attack"),
    System(
        45,
        "HyperFL",
        "federation.hypernetwork",
        "protection, heuristic + sound variant",
        "partial",
        "[study](studies/45-hyperfl.md), [attacked](studies/45-gradient-inversion.md): one upload gives away the "
        "extractor's weights and gradient and the private embedding; ahead of training alone (+.023 ± .010), behind "
        "FedAvg (-.053 ± .009) and private heads; DP-FedAvg and private heads with a claim beside it",
    ),
    System(
        46,
        "HideNseek",
        "federation.supermask",
        "enabling",
        "partial",
        "[study](studies/46-hidenseek.md); 158 times fewer bytes up than FedAvg, 5 points behind it; the paper's gain "
        "over {0, 1} masks did not come out; a one-step mask names its image among 1,000 (20 of 20); at ε = 8 "
        "protecting each record leaves 56 % with three silos, votes of whole silos are at chance below a hundred; "
        "only the abstract could be read",
    ),
    System(47, "Robust representation consistency (rRCM)", "restoration.certified_smoothing", "restoration, certified"),
)


def to_markdown() -> str:
    """Return the docs' table."""
    counts = {state: sum(s.state == state for s in SYSTEMS) for state in ("works", "partial", "planned")}
    lines = [
        "# Systems",
        "",
        "Generated by `python -m sfumato.studies.systems`: "
        + ", ".join(f"{count} {state}" for state, count in counts.items())
        + ". A planned system has no code here yet.",
        "",
        "| | system | module | kind | state | |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {s.number:02} | {s.title} | `sfumato.{s.module}` | {s.kind} | {s.state} | {s.note} |" for s in SYSTEMS
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(to_markdown(), end="")
