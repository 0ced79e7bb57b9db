"""Seven tiny pictures, always the same bytes, by whose pixels a decoder and resampler is known.

Two builds of Pillow, or of the JPEG library under it, need not agree in the last bit; they are the
same to us when they agree on these. One of each kind that ImageNet has: colour at half and full
resolution, progressive, grayscale, CMYK, and a PNG.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image


def jpegs() -> dict[str, bytes]:
    """37x29 pixels each: waves, an odd ramp, and noise. "4:2:0" is of quality 95, as the store
    keeps images."""
    return {kind: base64.b85decode(text) for kind, text in _JPEGS.items()}


def png() -> bytes:
    """463x311 pixels, so that it is reduced: ramps with an odd period. PNG is lossless: its encoder
    does not matter."""
    y, x = np.mgrid[0:311, 0:463]
    stream = io.BytesIO()
    Image.fromarray(np.stack([x * 7, y * 11, x * y],
                             axis=-1).astype(np.uint8)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


_JPEGS = {
    "4:2:0": (
        b"|JeWF01!$>Nk#wx0RR9200961|JwjV00IF40RaI50RaI50s;a81OoyB0s;jD1Oo&H1qKEN1qKEN2MGuU2MGrT1_%oX2?`1d3JL}Y3k(Yi3<"
        b"(Mf3jf;xLjeK;0s;a81p@;G3I_%U3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JMAe3JU+g01*fP9RMW*0U`h"
        b"b5di}c0sq7R8UO$T00RL40000000000000082?YiR1OLPTEf4?#0RsaB0ssXC0RR91000330|W&T1`;6v2M8h)F$pq3LQxbI79(MC|HJ?o0"
        b"RaI30{{R3000000000000#*L1_=Me051^$0s;U90R{sJ00000000010s|2Q1qKo!F#rb$6CzO*L17gnGD2~Yq0#XF+5ij#0RRFK0}%i}0Cx"
        b"Km+}#UywnQsuf|N%4DrtjctI4z+j2x~<EKmL)qJ6vbrTbTSw<S!|P*SVzPney?a#RLY{TuSPIL>~QpSh{q-zBvdZ|oCS)Yp2fE?yi$9sOU`"
        b"NGCZgst+WRqa^376>s7rT`V%!Ydu1e&o(|7(B$E8Ry9sSL^tG}tUZq*v5>y*{4n95!C`Y>hZ9ROm!~xxae@b#B?8U4&eV-Y=^E8YAX*2A4G"
        b"o#-9F9yTNikibhTf!~>#g%&Uft`wULI(@e_vJpH>V!5Ibrz~rK1X<w<S3lT!hCX94{P$*DODVew30kJQ`ZsXIiLIcb0dY#zxgD5;aB-f%*Q"
        b"10+0)5t<$l-T-x=8#)&VL#!s4&L8YdsDGXpDoI7qg1S2s*e_nXo)8p9PTcIzs@zhnNDn?Q>3qX<t1r@U4fGq5GA6ziW8%f!KnVn*@Z4DX2o"
        b"Fr%{f&?+rfX9-%T4kZZ2|LKVZ$&o8jXRvf_m;Y=;_;!`6|T+lK3w!Z_s6x7)_K(U9d)rVShPenu*#}pXzb`V0Hf5IToOh=z#B#|4gdh^q`z"
        b"vkZOtNEQc=-Ju!fXNI@5fr%-dZ-Mq;M~0B{Bl2PBiNYCiU|JUR&RnOliR;t2}6bI97p5=g4#l70J9Oh1SpvY}iYiiDt}eR%h-J54_&{6nm#"
        b"vl<#&Nfqm>eWNHC%wi*Q#=rs&;|?){k+V1ibcXjQ$L`?8ewO=fq-IB+Sgo}TJ|w25LgdO6vE9e>k78Ko2dfvV@ASID!Dp7P(y&WCEm2vamk"
        b"k!sgVf_W131soVsKAdeb2`o2KRbfd=#k|xW<r&Scox293oN%)?Lix5X^sRBN*vFy4`iCaxFW6S(9<{phO|6zV5P*&BYd;h#r|8Bmk8p&TVP"
        b"pOH${W)aAI)N(MJ(_}oYGEB5Krw9D+SmDU<Qq|!j{)b81&qLC6U>KAtDl#*6IQMWh*jO{qw8ot(fKdJk5MICG`jMVhXwT7X-DNqtlMpTGbE"
        b"TnppNmGzX+REJgLGATLq~0W{VKJnNrOHz%4<pSSNEm$-Oex#@h~(!drT59M$7zix1?Gm+GlZl0%z{MS@|gEAZ08}#AO<Au3I-3~S=>gd$#s"
        b"s^@_e)bTy+2|NK!4U>HuzL3Z#({^o23Bl075tk2TS8=^-vE4_mEpK4dM~u5QQFo_|c$cj9$*(@Rflx86UZD@=w_GE2!Lh5rCaQ@9LdIVX|8"
        b"&nHvox)yKkx6y5yq{$q6*%lQsg)HQrGJoLyaHAyjbfuE`aEnl7vE#7VD9SZ~bIODiVug08DgqTM2;qPX0J;D=k1^6Ip5g$G{a1TWH_i1Of7"
        b"jQy|Je"),
    "4:2:2": (
        b"|JeWF01!$>Nk#wx0RR9200961|JwjV01XKW3knDg3knMk4h;_zAQcl55)&sJ9v2`kDKRiEDJ?8BI!Zn>HbyrrEkIX6ModmpQ&KWMT47pHU`"
        b"kO^PygEhLjevB4iga*CKVMXPc<zyPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPf!2A01*fP9RMW*0U-b"
        b"a5di}c0sq7R82|tR0|5X400000000000009900adA|HJ?;5C8!K0tEpC3jhEB00000009C65dZ`Q5+N}`QDJeB(GwIEA~Hi_fx+SM|HJ?q0"
        b"RRI40|5X4000000000000RXE009I7|HJ?<5dZ-L0s{pF2><{900000009630|XHgAu&NwaiQ=96p^vfBQi6AqO!r#;s4qI3<CiG0ucid06z"
        b"d?vbbqU5<rc|eRlP`btDo}J9^aJ9S$dAc8hgo)bUs)`@AiulzkdA0w+;ay@K3GZ4)A7%}_DWvAH)b=hIW>l+aZ<^Ja)}btB~k1N3>+qlUDP"
        b"hkud%g1nA);UCl{FV@Rslg8Rmjy7PIS0wG_-C0ja*F?Z{)cFo+Pi;g9AS>2bl3h}BnUSzM3T3i!rGQLEkrm5V8<^|u+vqm|<9>5=G-a>Et$"
        b"MRcjJZ-{Sur&!ZaEu}1L+)yCz^2S>}*noBZd%&0Q<+rKZPw^Sv(voNaTc_pmnMq&!5?}-#|L?D0OwhN8u>eZMe~aw*zk;%G<WY9AO}i2D73"
        b"4SGtBZz*|nO*AuZip{Hx3y^)oVsklm2mriH#Qn@>fhut<D9r(+v^GfA~xXsGebz#=ql))hCIG`%UtmyzoZ99MyK!K&KZI17?NyzdlEV`^Ql"
        b"8n==1Gi`umx$Un*l;BLGxws!E1Yibu6iowigz{;0$aI8S2B|zbke0!K}Q^shdHABH)Xvpnsbb=|Je"),
    "4:4:4": (
        b"|JeWF01!$>Nk#wx0RR9200961|JwjV01XKW3knDg3knMk4h;_zAQcl55)&sJ9v2`kDKRiEDJ?8BI!Zn>HbyrrEkIX6ModmpQ&KWMT47pHU`"
        b"kO^PygEhLjevB4iga*CKVMXPc<zyPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPf!2A01*fP9RMW*0TBQ"
        b"K5di}c0sq7R7ytkR0RaF20000000000000971_c5C!~iZ3009F61px#L00000000000RjUN00adRAu&NwVR4bs6BHF9GDBj4!Qt@#!~hrp0"
        b"RaI40RR9100000000001p@>I0{_GSFA)F%0t5pF1q1^C00000000335dZ@OArdh`1yNyvk--!qaiQ=dGD5M@;o|?=01N{G00I#M5dc2`qO!"
        b"PYNfJPf$9-}sq*CKrY0RX&cJ;e;Bob0PdeX8sctUZ^EI9o3gDUElhiIR>!rFO9(W5XTbrh7O$QD9Mk3szVK&q`-Qz*h-!EPiriIFm9tf{h+"
        b"8wds4H})5Xs3($K!43|je4wCyk2>}OPEx`22e}c}NS>TOJ3yGfTP>1L8);rPeKG<J#pEKDa>f=ABaN6P)yX?~cUFW^Ki8ddavg^O^5!`$p("
        b"_z&!`4`mT~c$Ik+3=nl=^iC6Ekduk_R8&y&44+B&ozw**Ma`CL>6SF=0p!_I)fl9M1N*FwHe7K!&|prAAz-F|3%H&g(^z0O&b~#Ba(rE_M>"
        b"c#D*h=5QqT#$HqT}DM3FKIwif-eTVkZTAilP6IT{b2MW?TAtz`ZX{mJ&=M3h<f=0LRzi?<T#HM1J4QAVo7#nal@$9LnAdD%?L6%>U;nR_F7"
        b"o?JvUN-Hq2N*~rfvo6%Rf%%3Dc<>L5BV3iuYF82;XqDMWn=1Y5|w4snfz4z5&LD?xE|Nza`(tUbrMom<~5yIb++X&NIH%y6&$vZk`2ID=tm"
        b"`7wFMXgtXj^H1ZLB?0X3{REcWt_L_f#h5T=-MUOKEXl8n==1Gi`uAyBfCv#1A|EIAF`W3r%_Kul%gHjTC%2|o<|>sl3rVbjg)Y|p9RrkA`b"
        b"YLq|`H*$=wWhOxBr7ufPnV_XW5SG(@_m53Yvw|vTl0u{Z*#"),
    "progressive": (
        b"|JeWF01!$>Nk#wx0RR9200961|JwjV01XKW3knDg3knMk4h;_zAQcl55)&sJ9v2`kDKRiEDJ?8BI!Zn>HbyrrEkIX6ModmpQ&KWMT47pHU`"
        b"kO^PygEhLjevB4iga*CKVMXPc<zyPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPf!2C01*fP9RMW*0U`h"
        b"b5di}c0sq7R7ytnP0|5X40000000000000F50|Wy9!~hoo00RL40000000000000000|W&E|Jncy0|5X65CaeZ00Bl3%EZ%6i5U{(GZjcN`"
        b"pqnT+VbkBP`G8k|HJ?s5C8)J0|5a60000000000000330}&GvAu<2j00;pA009L8ibbg_5@!T)73p>(Cdg>=jF`%YxJ?t0qrQjrct<p3l#2"
        b"cT!~h);00II700RI300000000000RjLK0|XKi6e0iG00;pC0RcY&*~U;(%pOjx&t|?y+G6x(61>JMbN|Eu91#El0R;g7000000000000001"
        b"0s{mQ5<wIH+5iXv0s#R(0i|iuS%K`jiZvRFH&Y{Pvd$0x!~hu(00IL600000000000000001yEoF);ty00;pA00ut-RAGwv!<GNU03Hwk0{"
        b"{U80{{R300000000000TCfFL1BRqQE~s;00;pA00BQCVGJ#YI8%sH_UL(Y31vnKX%UC%l3jQNBYYEsXa{A;=S(AEBp?6U01N{G00IC50000"
        b"GZbOuWAOFMv7ZCsh0RR910000000000000015fJ~{00;pC0RcY{qXYp$vr_iaZ2!anAQ1oo0|WvC0000000000000315%3{FQK4~>vC-lG+"
        b"5iXv0s#R(5C{RTOqoSRwGQ0@(yt#AnStT`qh&2E*+5~jU;o4aA`k%p0s;X90s{a500000000315g{=_QDJeBf$+i6;s4qI2mt{A0Y4BaXja"
        b"cKf}_7!(+Mvm!DY5xw;l{Xdyf_4Sc|2-b^7rxP1&Kr3l^&tQyU_)ZCrAo<?g<aNV!F-I>cz#2EF!#lY=*h`6)CU-{Kw0DCFW%g0%1j#b(V8"
        b"yM!<<Uo$vtI%0qS*#"),
    "gray": (
        b"|JeWF01!$>Nk#wx0RR9200961|JwjV01XKW3knDg3knMk4h;_zAQcl55)&sJ9v2`kDKRiEDJ?8BI!Zn>HbyrrEkIX6ModmpQ&KWMT47pHU`"
        b"kO^PyfIG3kU!m03`td5di<h02lxO0|5a50000000000000031O^2G|HJ?;5C8!K0tEpC3jhEB00000009C65dZ`Q5+N}`QDJeB(GwIEA~Hi"
        b"_fx+SM|Jncu0RaF2KLDb#xM@ieK#j+JcJ;e;Bob0Pder^i7SqZ;jTwOxsHDAu+(>N`B4o`F;Oa-p3J2)(p)r28TO^(~(u8rd1iHB=Z!YS3%"
        b"MwefPIEFg2SHS}PBgFyh|(gO^=6eBa-_zxVroMX!w5tGedFUF!lte)o(>hHazakfI?=4#aiarn2HriDw{3_x!a*DjXG8j<D<4yEl&dbB&*H"
        b"V6Sar7LFi1L%C<?J_IzSPdPT&OBRfaNAnstD7?E<p#8%Em>1fPa}^*3^iu4N`b>7{@F*#"),
    "CMYK": (
        b"|JeWT01iQ9Z(?NtWB>pF0095n07C#24i6F!4HOa(5*HN|7#=bq9vmDVJuEIHGD$#8OGiLPMNnFEVo+6WRz*f+h-Gbedx3(1PGF6fjD41Ket"
        b"~@dzyK5o0384&1Va%3O%VWD5dcdO0RO}Q8UO$S0|5a50000000000000050|W*E0{_GSFc1I%0|NvB0|EmH00000000330}%iOAq5gKK~WQ"
        b"7fg*7fvG4{XGBZL_p~2Dr+5ip&LjX+xSpZ7_06zfGS~Qkgl?bPdUo_?k0x(5p?Cie~201;}&X(&JVF^1(2hW<7ZL;h{XB6$d1%{XpT`di^2"
        b"P?#!;12lWipgBMUUa0-{Hj+PQd|V22qUpxlc(4&Q)_7T%E1tJ>`J~)M}2igG19F9l_X|F&vd5iL=k`w`mQ-?W`sbtwQ0b;gek)55i&NU0zU"
        b"Lsw%LG|#H1gJR`!;(tBD<8RLRp&KZj0j@c`~_-B3NgrHU)JZu)GRiHr9eJp5E2v(2{6s_tKnjijjYC)iJO#TAd$?#qOY-+a?6ZD^zrrF_)w"
        b"H@+|R7;)!5mYNvj`cvT}&%cwBm)f#jbRNGtZ)>a}VIZD(%}C%<mPOerUcgktYA9(55Pq!v&S&676|vH-QiK9Q7{)1rE}D4fZ_a2+i)q|fEr"
        b"kR7lj$H32!yH%lyNbTXC5e~PALc=PhM-%ZCi9mfP1L@B{CA0nqi|HD`R0oaG|^?=RP>%icPED6s26}+Ot<$A>2qE{-UAN)4xcywhD#ZIwdh"
        b"Xker^p?fp#^lXb%L*d__bRH^+r*5rhk9o3Y$vcJS2wY__rVQNezwv#_re)FEsffQ4{BGVyI4L}s@M2SAaxZ6ldJvN}QKvQifZ3F@Q#h!M^I"
        b"59E6Adpt2lzI%#(Hxqv#-_I8JPgsjLDIeGQiL{Cq7bO!P9X`%j7;aV1t`3|341Fk`x<E8x}+cvZs>;+64kQ98vrUuX}~k%W@8ie8P5Z<km~"
        b"O!s(hS}HK;<8=twE&zZK_AY%5E&SS2e>yXp%D2p}hlDxITAE~FmnD~mRu03&ce;;f5M9ViL`3N0}a1R$ev5<Hpaa7`7n(-=rYeDDwDN^dmQ"
        b"j^o(&sJ^EdQ|l>}vWG}YK$R(5Q}CDs4&yXci^ob*QaFQ2Z!8-@aHR3=L(QR<%V`H{RPJQ%B^;=q?ml`PXEatrQn*ocDECWN-==nj9{4fcOJ"
        b"!i)&i0*cg{6?4p-td!8?XT$K<wk1EC1O"),
}
