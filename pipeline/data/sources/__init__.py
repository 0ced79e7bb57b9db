"""How pictures get in: the data set in place, its catalogue, and the bytes of each picture.

`fetching` puts a data set in place and lists it; `catalogue` has the types; `index` holds the
pictures of a split in columns; `reading` yields a picture's bytes. A source is a small module of
this package: `sample` (made here), `imagenet2012`, `imagenet2010`, `imagenette`, `cifar10`,
`folder` (train/<class>/*, val/<class>/*). Each has

    TERMS                      the data set's licence in a few words
    plan(dataset) -> Plan      what `fetch` would download and write, and how much disk that takes
    fetch(dataset) -> Contents  the data set in place and verified; its listing; its pictures

Pictures are read where they lie: in a tar, in a tar within a tar, in a zip, or in files of their
own. What cannot be read picture by picture (a compressed tar, Parquet) is put into a plain tar
once, by `repack`.
"""
