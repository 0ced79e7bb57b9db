"""AlexNet as it was: the network of Krizhevsky, Sutskever and Hinton (2012), its recipe, and nothing else.

Read `architecture.py` (the layers) and `network.py` (the two columns) beside section 3 of the paper, `recipe.py` beside
sections 4 and 5. "P §n" cites the paper; "S file:key" the original source as released by the Computer History Museum.
"""
