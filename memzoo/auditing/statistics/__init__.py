"""Hold the statistics of an audit: ROC curves with intervals, permutation tests, a lower bound on epsilon."""

from memzoo.auditing.statistics.binomial import binomial_tail, clopper_pearson
from memzoo.auditing.statistics.one_run_epsilon import ASSUMPTIONS, EpsilonBound, one_run_epsilon
from memzoo.auditing.statistics.permutation import PERMUTATIONS, PermutationTest, permutation_test
from memzoo.auditing.statistics.ranks import count_scores_above, rank
from memzoo.auditing.statistics.roc import FALSE_POSITIVES, OperatingPoint, Roc, area_under_roc, measure_roc
from memzoo.auditing.statistics.tail import tail_p_values
from memzoo.auditing.statistics.two_samples import TwoSamples, compare_samples

__all__ = [
    "ASSUMPTIONS",
    "FALSE_POSITIVES",
    "PERMUTATIONS",
    "EpsilonBound",
    "OperatingPoint",
    "PermutationTest",
    "Roc",
    "TwoSamples",
    "area_under_roc",
    "binomial_tail",
    "clopper_pearson",
    "compare_samples",
    "count_scores_above",
    "measure_roc",
    "one_run_epsilon",
    "permutation_test",
    "rank",
    "tail_p_values",
]
