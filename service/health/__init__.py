"""What operators are told: `process` judges this process, `reports` joins what the workers on one port say."""
