"""The recipe of the first command: LF-DNN on the embedded demo corpus, the same as `lf_dnn:demo`."""

from msajax.run import recipe


def get_config(argument=""):
    return recipe.load(f"lf_dnn:demo{argument}")
