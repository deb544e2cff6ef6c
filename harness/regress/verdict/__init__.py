"""From blocks to verdicts: pure functions, no process, no clock.

decision_rules  when the tests are made, error budgets, the least slow-down: fixed before timing
verdicts        what to time next, and what is concluded
sign_flip_test  the exact test of one benchmark
resampling      how often the rules err and find, by replaying recorded blocks
"""
