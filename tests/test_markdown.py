import re

from hypothesis import example, given
from hypothesis import strategies as st

from churn.markdown import plain, table, to_html


@given(st.text(alphabet="\\`*_[]()<>|!&#-=~ \n\r\tax:/", max_size=30))
@example("</script><img src=x onerror=alert(1)>")
@example("[a](https://evil.example)|![x](https://evil.example/x.png)\n# no heading")
def test_a_value_is_one_cell_without_markup_whatever_it_holds(value: str) -> None:
    html = to_html("\n".join(table(["value"], [[plain(value)]])), "page")
    [cell] = re.findall(r"<td>(.*?)</td>", html, re.S)
    assert not re.search(r"<(a|img|script|code|h1)\b", cell)
    assert html.count("<tr>") == 2
