"""Gates: a policy's rules, decided on measurements of devices. Verdicts are pass, fail, or neither.

policy.py reads a policy, plan.py finds what must be measured for it, measure.py has it measured and
decides at each look, rules.py holds the decision for one rule, result.py what came of it.
"""
