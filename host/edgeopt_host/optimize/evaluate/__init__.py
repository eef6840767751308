"""What a step did to a model: size, scores, agreement, robustness (docs/concepts/evaluation.md)."""

from __future__ import annotations

from edgeopt_host.optimize.evaluate.evaluation import Evaluation, evaluate
from edgeopt_host.optimize.evaluate.scores import collapsed

__all__ = ["Evaluation", "collapsed", "evaluate"]
