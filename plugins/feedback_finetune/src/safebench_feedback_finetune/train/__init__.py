"""Fine-tune a guard on what it let through: a LoRA on its verdict.

`training_run` runs `feedback train` from the splits to the certificate. `fine_tune`
draws the examples and trains on them with `lora_training`; `loss` is the objective.
"""
