"""Attacks: what a release, a model or a protocol betrays, measured as Evidence.

For privacy engineers and reviewers; each subpackage names its paper. Nothing heavy is imported here.
"""
