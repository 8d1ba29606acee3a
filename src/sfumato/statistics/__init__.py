"""Statistics about people under differential privacy: survival analysis.

For biostatisticians. Each module names its paper.
"""
