"""The recipe of the first command: LF-DNN on the embedded demo corpus, the same as `lf_dnn:demo`."""

from msajax.run import recipe


def get_config(argument=""):
    if argument:
        raise ValueError(
            f'"demo" is a whole name, without ":{argument}"; for the demo recipe of a '
            "system, give SYSTEM:demo, for example tfn:demo"
        )
    return recipe.load("lf_dnn:demo")
