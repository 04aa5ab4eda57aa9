"""The paper's tables 1 and 2 at the paper's size: ORQA and REALM on three sets of questions, and all ablations on NQ.

    realm sweep experiments/wikipedia_sweep.py --print

All files that these experiments name must be there when the sweep is begun; with `--variants`, those of these alone.
REALM with X = CC-News has data, ICT and pre-training of its own; every other set of questions shares them with NQ's.

Time: not known as a whole; of `wikipedia`, computed, on 64 chips 30 hours for each pre-training of
its own, and 8 for the ICT of each corpus.
Expected: the paper's numbers, which stand in ablations.py, and in `orqa`, `webquestions`, `curatedtrec`, `cc_news`,
`cc_news_webquestions` and `cc_news_curatedtrec`; ORQA on WebQuestions 36.4, on CuratedTREC 30.1 (table 1).
"""

import ablations
import cc_news
import cc_news_curatedtrec
import cc_news_webquestions
import curatedtrec
import webquestions
import wikipedia

from realm_jax.config import Sweep


def get_sweep() -> Sweep:
    variants = ablations.variants(wikipedia.get_config())
    for module in (webquestions, curatedtrec):
        config = module.get_config()
        variants |= {config.name: config, f"{config.name}_no_pretraining": ablations.no_pretraining(config)}
    on_news = [module.get_config() for module in (cc_news, cc_news_webquestions, cc_news_curatedtrec)]
    variants |= {config.name: config for config in on_news}
    return Sweep(variants=variants, seeds=(0,), reference=ablations.REFERENCE)
