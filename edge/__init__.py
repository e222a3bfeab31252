"""The light runtime beside the instrument: counts -> reflectance -> model input -> prediction ->
store -> stream.
"""
