"""MSG/MBA on CMU-MOSI, a row per word: `configs/msg_mba_mosi.py:ROW`.

Hyperparameters: Lin & Hu, IEEE TMM 2023, section IV-E; where it gives none, a comment
says "open". ROW is one of the paper's Tables III and IV, a name in `configs._msg_mba.ROWS`.
Tables V and VI are also on XLNet: --config.text.encoder=xlnet-base-cased.
"""

from configs import _msg_mba, common


def get_config(row="msg_mba"):
    config = common.get_config("msg_mba", "mosi")
    # MMSA's aligned file: variant="aligned", dims=(768, 5, 20), and words=False below.
    config.data.update(variant="mag", dims=(1, 74, 47), lengths=(50, 50, 50))
    config.text.update(encoder="bert-base-uncased", max_length=50, words=True)
    config.model.update(
        gates=("text", "audio", "vision"),
        mba=True,
        shift_weights=(0.1, 0.1, 0.1),  # alpha, beta, gamma: open
        layer=2,  # Fig. 5: MSG-T behind this encoder layer, 0 to 12
        recurrent="sLSTM",  # Table VI: sLSTM, bLSTM, sGRU, bGRU
        mu=1.0,  # open: "cross-validation"
        delta=1.0,  # open
        dim=30,  # open: CM-BERT's
        kernel_sizes=(3, 3, 3),  # open; 1 sees no neighbours
        scalar_weights=False,  # True: CM-BERT's form of W_p
        routing="matched",  # "crossed": as section III-C2 literally says
        post_norm=True,  # not in equation 7, but in MAG, which the gate comes from
        pooling="cls",
        gate_dropout=0.1,  # open, as all dropout
        dropout=0.1,
    )
    config.train.update(batch_size=48, epochs=40, patience=0, select="loss")
    # Ours, the paper gives none: the share of the warm-up (a tenth of the updates, then
    # linearly down to 0), and the weight decay with what is exempt from it. The warm-up
    # itself, AdamW and the rate are the paper's.
    common.fine_tune(config, learning_rate=2e-5, head=2e-5, weight_decay=0.01)
    _msg_mba.set_row(config, row)
    return config
