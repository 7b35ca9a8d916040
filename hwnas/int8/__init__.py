"""Quantisation to INT8: calibrated, in the flavour of the runtime, with the layers that it would hurt left in float32."""
