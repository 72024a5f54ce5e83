"""Prometheus's text format and the simple expressions of deploy/: what is exported, what is used, and whether a rule fires."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
_COMPARE = {"==": operator.eq, ">": operator.gt, "<": operator.lt}
_SIMPLE = re.compile(r"^(?:absent\((\w+)\)|(\w+)(?:\{(.*)\})? (==|>|<) ([\d.]+))$")
_USED = re.compile(r"\b(sync_\w+)(\{[^}]*\})?")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_BY = re.compile(r"\bby \(([^)]*)\)")
_SHOWN = re.compile(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}")


@dataclass(frozen=True)
class Value:
    """One sample of a scrape."""

    name: str
    labels: Mapping[str, str]
    value: float


def scraped(text: str) -> list[Value]:
    """Every sample of an answer."""
    return [
        Value(sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def rules() -> dict[str, dict[str, Any]]:
    """The alert rules by name."""
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text("utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def firing(rule: str, text: str) -> list[Mapping[str, str]]:
    """The labels of each sample of a scrape for which a rule fires (its `for` is time alone, and is not waited for)."""
    found = _SIMPLE.match(rules()[rule]["expr"])
    assert found, f"{rule}: its expression is not one comparison"
    absent, name, labels, compare, number = found.groups()
    values = scraped(text)
    if absent:
        return [] if any(v.name == absent for v in values) else [{}]
    wanted = dict(_LABEL.findall(labels or ""))
    return [
        v.labels
        for v in values
        if v.name == name and wanted.items() <= v.labels.items() and _COMPARE[compare](v.value, float(number))
    ]


def used(expression: str) -> tuple[dict[str, dict[str, str]], set[str]]:
    """The metrics of an expression, each with the labels that it asks for; and the labels by which it groups."""
    metrics: dict[str, dict[str, str]] = {}
    for name, labels in _USED.findall(expression):
        metrics.setdefault(name, {}).update(_LABEL.findall(labels))
    return metrics, {label.strip() for by in _BY.findall(expression) for label in by.split(",")} - {"le"}


def shown_labels(text: str) -> set[str]:
    """The labels that a legend or an annotation shows."""
    return set(_SHOWN.findall(text)) - {"value"}
