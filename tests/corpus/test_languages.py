"""Does a sentence end where its readers would end it, whatever the script?"""

import pytest

from corpus.text.sentences import sentences

TEXTS = {
    "chinese": "你好吗？|我很好。|2015年他来了！！|他走了……|真的？！|然后他又回来了。",
    "chinese, a quotation": "他说：“你好。”|然后走了。|「走吧！」|（真的。）|他说“走吧！”，然后走了。",
    "chinese, half-width marks": "你好吗?|我很好.|他走了!|真的?!|他笑了...|然后走了。|是的｡|好",
    "chinese, numbers": "圆周率是３．１４。|圆周率是3.14。|第２．节",
    "japanese": "日本語です。|「はい。」と彼は言った。|『本当！？』|うん｡|そうだ。",
    "hindi": "यह एक वाक्य है।| वह घर गया।| क्या आप ठीक हैं?| मंत्र॥| हाँ।",
    "arabic": "كيف حالك؟| أنا بخير.| قال: «إلى أين؟»| ثم ذهب!| نعم.",
    "urdu": "یہ ایک جملہ ہے۔| وہ گھر گیا۔| کیا؟| ہاں۔",
    "armenian": "Բարև Ձեզ։| Ժամը 12։30 է։| Ես լավ եմ։",
    "burmese": "မြန်မာစာ၊ ဖြစ်သည်။| ကောင်းသည်။",
    "amharic": "ሰላም ነው።| እንዴት ነህ፧| ደህና።",
    "khmer": "ខ្ញុំទៅ។| អ្នកមក។",
    "korean": "나는 학생이다.| 너는 누구니?| 좋아!",
    "hebrew": "שלום.| מה שלומך?| טוב.",
    "russian": "Он пришёл.| Она ушла!| Что?| Да.",
    "german": "Sie sagte: „Ich komme.“| Dann ging er.| »Ja!«| Das kostet ca. 20 Euro.",
    "spanish": "¿Qué?| ¡Vamos!| Sí.",
    "thai": "เขาไปบ้านแล้วก็กลับมา แม่ของเขาไม่อยู่",
    "english": "“Who?” he said.| ‘Go.’| He left… and came back.| It was 3.15 p.m. then.",
}


@pytest.mark.parametrize("language", TEXTS)
def test_a_sentence_ends_where_its_readers_would_end_it(language):
    expected = TEXTS[language].split("|")
    assert sentences("".join(expected)) == expected


@pytest.mark.parametrize("language", TEXTS)
def test_a_paragraph_is_left_whole_character_for_character(language):
    for edge in ("", " ", "\n", "。", " ."):
        paragraph = edge + TEXTS[language].replace("|", "") + edge
        found = sentences(paragraph)
        assert "".join(found) == paragraph
        assert all(sentence.strip() for sentence in found)
