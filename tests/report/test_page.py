"""The report page: self-contained, escaped, honest about what has no claim, nothing from the records."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from sfumato.evidence import Evidence
from sfumato.report import Provenance, survival_page
from sfumato.statistics.survival import DPKaplanMeier, dp_logrank

VOID = {"meta", "img", "br", "link"}


class Outline(HTMLParser):
    """Collects what a page points to, and whether every tag is closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.targets, self.images, self.tags = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self.targets += [attributes[name] for name in ("src", "href", "action", "data") if name in attributes]
        if tag == "img":
            self.images.append(attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def fit():
    rng = np.random.default_rng(1)
    times, groups = rng.exponential(300, 400), np.arange(400) % 2
    return DPKaplanMeier(epsilon=1.0, horizon=700, n_bins=8).fit(
        times,
        (times < 600).astype(int),
        groups=np.where(groups, "placebo", "treated"),
        group_labels=("placebo", "treated"),
    )


def page_of(fit, **options):
    provenance = options.pop("provenance", Provenance({"epsilon": 1.0, "max_records": None}))
    return survival_page(fit, b"\x89PNG picture", provenance, title="Trial", time_unit="days", **options)


def test_the_page_is_well_formed_and_points_nowhere_outside(fit):
    page = page_of(fit)
    outline = Outline(page)
    assert outline.open == []
    assert all(target.startswith("data:image/png;base64,") for target in outline.targets)
    assert not re.search(r"https?://|<script|@import|url\(", page)
    assert "@media print" in page
    assert '<html lang="en">' in page


def test_the_picture_has_words_and_headings_are_in_order(fit):
    outline = Outline(page_of(fit))
    (image,) = outline.images
    assert "days" in image["alt"]
    assert outline.tags.count("h1") == 1
    assert outline.tags.count("h2") == 4


def test_claim_table_and_summary_are_there(fit):
    page = page_of(fit, log_rank=dp_logrank(fit, random_state=0))
    assert "ε = 1" in page
    assert "Log-rank" in page
    assert "placebo" in page
    assert page.count("<tr") == 2 + 1 + 1 + 2 * 9  # two groups: summary with its head, table with its head
    assert "not audited" in page
    assert "not charged" in page
    assert "max_records" not in page


def test_unreliable_rows_are_marked():
    fit = DPKaplanMeier(epsilon=0.5, horizon=10, n_bins=4).fit([1.0, 2.0, 3.0], [1, 1, 1])
    page = page_of(fit)
    marked = int((~fit.table()["reliable"]).sum())
    assert page.count('class="weak"') == marked > 0


def test_evidence_is_printed_with_its_limits(fit):
    evidence = Evidence(
        "an <attack>",
        "epsilon lower bound",
        1.7,
        (1.7, np.inf),
        0.95,
        40_000,
        fit.claim_,
        "falsified",
        notes=("a note",),
    )
    page = page_of(fit, evidence=[evidence])
    assert "Falsified" in page
    assert "An &lt;attack&gt;, epsilon lower bound: 1.700 at 95 % confidence, 40,000 runs" in page
    assert "it cannot prove one" in page
    assert "a note" in page


def test_a_void_claim_is_drawn_unlike_a_standing_one():
    fit = DPKaplanMeier(epsilon=1.0, horizon=10, n_bins=3, noise_seed=1).fit([1.0, 2.0, 3.0], [1, 0, 1])
    page = page_of(fit)
    assert 'class="claim none"' in page
    assert "No guarantee" in page


def test_what_a_user_types_is_escaped_and_the_charge_is_shown(fit):
    receipt = {"dataset": "<b>trial</b>", "position": 3, "at": "2026-01-01", "hash": "abc123"}
    page = page_of(fit, provenance=Provenance({"groups": "<script>"}, receipt))
    assert "<script>" not in page
    assert "<b>trial" not in page
    assert "charge 3" in page
    assert "abc123" in page


def test_nothing_of_the_records_is_on_the_page():
    durations = [1.0, 2.0, 98765.4321] * 30
    page = page_of(DPKaplanMeier(epsilon=1.0, horizon=10, n_bins=3).fit(durations, [1, 0, 1] * 30))
    assert "98765" not in page.replace(",", "")
