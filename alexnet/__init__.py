"""AlexNet as it was: the network of Krizhevsky, Sutskever and Hinton (2012), its recipe, no more.

Read `architectures.py` (the layers) and `network.py` (the two columns) beside section 3 of the
paper, `augmentation.py` and `testing.py` beside section 4, `training.py`, `optimizer.py` and
`schedule.py` beside section 5; `recipe.py` has every choice that paper and source make differently.
"P §n" cites the paper, "S file:key" the original source as released by the Computer History Museum,
"C2" its successor, cuda-convnet2.
"""
