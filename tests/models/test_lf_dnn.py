import jax
import numpy as np

from msajax.data.spec import Spec
from msajax.models.lf_dnn import LFDNN

SPEC = Spec(dims=(5, 3, 4), lengths=(4, 6, 7), num_train=6)


def test_layers_on_the_joined_embeddings():
    model = LFDNN(SPEC, hidden_dims=(6, 2, 3), text_out=4, post_fusion_dim=5)
    batch = SPEC.example(3)
    variables = model.init(jax.random.key(0), batch, train=False)
    out = jax.tree.map(np.asarray, model.apply(variables, batch, train=False))
    joined = np.concatenate([out["audio"], out["vision"], out["text"]], axis=1)
    np.testing.assert_array_equal(out["fusion"], joined)
    h, params = joined, jax.tree.map(np.asarray, variables["params"])
    for i in (1, 2, 3):
        layer = params[f"post_fusion_{i}"]
        h = h @ layer["kernel"] + layer["bias"]
        h = np.maximum(h, 0) if i < 3 else h
    np.testing.assert_allclose(out["pred"], h[:, 0], atol=1e-6)
