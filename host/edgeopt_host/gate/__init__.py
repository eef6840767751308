"""Gates: a policy's rules, decided on measurements of devices. Verdicts are pass, fail, or neither.

policy.py has a policy and read.py reads one, plan.py finds what must be measured for it, measure.py has
it measured and decides at each look, rules.py holds the decision for one rule, run.py joins these, and
result.py has what came of it, which table.py shows. known.py tells what needs no measuring to be
refused, failures.py whose fault a failure is.
"""
